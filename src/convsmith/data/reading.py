"""A file's picture: read whatever its notes say, and refused if a part of it is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image

from convsmith.data import jpeg
from convsmith.data.conversion import converted, manner, strips, turned, wide
from convsmith.data.levels import WIDE, Bytes, Levels, extremes, is_color, swap, values
from convsmith.data.opening import (
    WHOLE,
    Truncated,
    Unread,
    from_bytes,
    load,
    opened,
    orientation,
    planar,
    stream,
    without_notes,
)
from convsmith.data.quiet import quiet

# Bytes of a PNG or JPEG that are read to leave its notes out.
MOST_READ = 1 << 28
STREAMS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
FLOATS = "floating-point pixels of unknown range; save it with 8 or 16 bits"


def opened_picture(file: IO[bytes]) -> Image.Image:
    image = opened(file)
    planar(image)
    if image.mode == "F":
        raise Unread(FLOATS)
    return image


def read_upright(
    source: Path | bytes,
    channels: int,
    levels: Levels | None,
    least: Callable[[tuple[int, int]], tuple[int, int]],
) -> Bytes:
    """A file's picture, upright, (H, W, channels); a JPEG at least as large as ``least`` says of its size."""
    if isinstance(source, bytes):
        return _despite_notes(from_bytes(source), source, channels, levels, least)
    if str(source).startswith(STREAMS):  # named by who asks: predict RUN <(command)
        content = source.read_bytes()
        return _despite_notes(from_bytes(content), content, channels, levels, least)
    with stream(source) as file:
        content = file.read(WHOLE + 1)
        if len(content) <= WHOLE:
            return _despite_notes(from_bytes(content), content, channels, levels, least)
        file.seek(0)
        return _despite_notes(file, None, channels, levels, least)


def _despite_notes(
    file: IO[bytes],
    content: bytes | None,
    channels: int,
    levels: Levels | None,
    least: Callable[[tuple[int, int]], tuple[int, int]],
) -> Bytes:
    """The picture, where need be without its text, profiles and EXIF: nobody needs them for its pixels."""
    try:
        return _pixels(file, content, channels, levels, least)
    except Exception as error:  # Pillow's plugins raise anything on damaged data
        if content is None:
            file.seek(0)
            content = file.read(MOST_READ) if file.read(4) == b"\x89PNG" and not file.seek(0) else b""
        bare = without_notes(content)
        if bare is None or isinstance(error, Truncated):
            raise
        try:
            return _pixels(from_bytes(bare), bare, channels, levels, least)
        except Exception:
            raise error from None


def _pixels(
    file: IO[bytes],
    content: bytes | None,
    channels: int,
    levels: Levels | None,
    least: Callable[[tuple[int, int]], tuple[int, int]],
) -> Bytes:
    image = opened_picture(file)
    found = None
    if content is not None and content.startswith(jpeg.START):
        found = jpeg.layout(content)
        if found is not None and not found.closed:
            content = content[: found.end] + jpeg.END
            file = from_bytes(content)
            image = opened_picture(file)
        # What is missing of the only pass over a picture shows in its corner, below: this is for the others.
        if found is not None and (not found.closed or found.scans > 1 or not found.whole):
            _refuse_torn(content, found)
    full = image.size
    image.draft(None, least(full))  # JPEGs only; never smaller than asked
    if content is not None and image.size == full and _plain_jpeg(image, content):
        pixels = _quickly(content, channels)
        if found is not None and found.scans == 1 and _is_grey(tuple(pixels[-1, -1])):
            _refuse_torn(content, found)
        return pixels
    low = _lower(file) if is_color(image) and levels != WIDE else None
    image, turn = load(image, file)
    if found is not None and content is not None and found.scans == 1 and image.mode in ("RGB", "L", "CMYK"):
        corner = image.getpixel((image.width - 1, image.height - 1))
        if image.mode == "CMYK" or _is_grey(corner if isinstance(corner, tuple) else (corner,)):
            _refuse_torn(content, found)
    return turned(converted(image, channels, levels, low), turn)


def _is_grey(pixel: tuple[Any, ...]) -> bool:
    """Whether a pixel is what libjpeg paints where it has no data."""
    return all(abs(int(value) - 128) <= 3 for value in pixel)


def _refuse_torn(content: bytes, found: jpeg.Layout) -> None:
    if jpeg.torn(content, found):
        raise Truncated("truncated image")


def _lower(file: IO[bytes]) -> Image.Image:
    """The lower 8 of 16 bits a color."""
    place = file.tell()
    file.seek(0)
    image = opened_picture(file)
    swap(image)
    image, _ = load(image, file) if image.format != "TIFF" else (_loaded(image), 1)
    file.seek(place)
    return image


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _plain_jpeg(opened: Image.Image, content: bytes) -> bool:
    """Whether torchvision reads this file as Pillow does: whole, of usual colors, upright.

    torchvision takes a truncated file for a whole one: what lacks its end is left to Pillow, which complains.
    """
    return (
        opened.format == "JPEG"
        and opened.mode in ("RGB", "L")
        and content.endswith(jpeg.END)
        and ("exif" not in opened.info or orientation(opened) == 1)
    )


def _quickly(content: bytes, channels: int) -> Bytes:
    """The same pixels as Pillow's, in three quarters of the time: torchvision makes no copy of them."""
    # Here: loading a model, and reading anything but JPEGs, need not wait a second for it.
    from torchvision.io import ImageReadMode, decode_jpeg

    mode = ImageReadMode.GRAY if channels == 1 else ImageReadMode.RGB
    planes = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode)
    return np.ascontiguousarray(planes.permute(1, 2, 0).numpy())


def measured(source: Path) -> tuple[int, int, int, int]:
    """The values of a picture of more than 8 bits, as :func:`convsmith.data.levels.extremes` gives them.

    Raises:
        Exception: whatever Pillow raises on damaged data.
    """
    with quiet, stream(source) as file:
        image = opened_picture(file)
        if is_color(image):
            image.load()
            upper = max(int(band[1]) for band in image.getextrema()[:3])  # type: ignore[index]
            if upper >= 128:  # all 16 bits are used, and their range is known without the lower ones
                return 0, 0, WIDE[1], WIDE[1]
            low = _lower(file)
            found = [
                extremes(wide(top, below)[:, :, :3].reshape(top.height, -1))
                for top, below in zip(strips(image), strips(low))
            ]
        else:
            image, _ = load(image, file)
            found = [extremes(values(strip, *manner(image))) for strip in strips(image)]
    lows, inner_lows, inner_highs, highs = zip(*found)
    return min(lows), min(inner_lows), max(inner_highs), max(highs)
