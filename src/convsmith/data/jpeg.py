"""Whether a JPEG's pixels are all there: libjpeg paints what is missing grey, and says so to nobody."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
# A byte FF that begins a marker within compressed data: FF00 is a byte of data, FFD0 to FFD7 only restart.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Frames by marker: all of SOF0 to SOF15 but DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
# Bytes that no decoder reads behind whole data, and that each reads as data where some is missing.
_FOREIGN = bytes((73 * n + 41) % 251 for n in range(64))
# Above so many pixels, pictures are compared at half their size.
_LARGE = 8_000_000


@dataclass(frozen=True)
class Layout:
    """What the markers of a JPEG say.

    Args:
        end: where its compressed data ends, a place in the file.
        closed: whether the marker of the end stands there.
        scans: how many times the data passes over the picture.
        whole: whether every coefficient of every component comes in some scan, to its last bit.
        precision: bits of a sample.
    """

    end: int
    closed: bool
    scans: int
    whole: bool
    precision: int


def layout(content: bytes) -> Layout | None:
    """Read a JPEG's markers; None where it doesn't come to its compressed data."""
    at, scans, frame, precision = 2, 0, 0, 8
    components: set[int] = set()
    # By component, the coefficients that have come to their last bit.
    done: dict[int, set[int]] = {}
    while content[at : at + 1] == b"\xff":
        while content[at : at + 1] == b"\xff":
            at += 1
        marker = content[at] if at < len(content) else 0
        if marker == 0xD9:
            break
        length = int.from_bytes(content[at + 1 : at + 3], "big")
        body = content[at + 3 : at + 1 + length]
        at += 1 + length
        if length < 2 or at > len(content):
            break
        if marker in _FRAMES and len(body) >= 6:
            frame, precision = marker, body[0]
            components = {body[6 + 3 * n] for n in range(body[5]) if 6 + 3 * n < len(body)}
        if marker == 0xDA and body:
            scans += 1
            _note(body, done)
            found = _MARKER.search(content, at)
            if found is None:
                end = len(content) - content.endswith(b"\xff")
                return Layout(end, False, scans, _came(frame, components, done), precision)
            at = found.start()
            if found.group() == END:
                return Layout(at, True, scans, _came(frame, components, done), precision)
    return Layout(min(at, len(content)), False, scans, False, precision) if scans else None


def _note(body: bytes, done: dict[int, set[int]]) -> None:
    """Which coefficients a scan, by its header, brings to their last bit."""
    number = body[0]
    if len(body) < 4 + 2 * number:
        return
    first, last, bits = body[1 + 2 * number : 4 + 2 * number]
    for n in range(number):
        if bits & 15 == 0:
            done.setdefault(body[1 + 2 * n], set()).update(range(first, min(last, 63) + 1))


def _came(frame: int, components: set[int], done: dict[int, set[int]]) -> bool:
    wanted = 64 if frame in _PROGRESSIVE else 1
    return all(len(done.get(component, ())) >= wanted for component in components)


def torn(content: bytes, found: Layout) -> bool:
    """Whether data is missing before the end: whether other bytes there would become pixels.

    A decoder that has all data doesn't look at what stands between it and the marker of the end; one that
    lacks some takes it for data. So the picture is decoded with two kinds of bytes there, and compared.
    """
    if not found.whole:
        return True
    head = content[: found.end]
    return _decoded(head + END) != _decoded(head + _FOREIGN + END)


def _decoded(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        if image.width * image.height > _LARGE:
            image.draft(None, (image.width // 2, image.height // 2))
        return image.tobytes()
