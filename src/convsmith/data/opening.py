"""Opening a picture with Pillow: safe formats only, and nothing of a picture's notes costs the picture."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image, UnidentifiedImageError

from convsmith.data import kinds

# Files up to this many bytes are read whole; larger ones are read by their decoder, as far as it needs them.
WHOLE = 64 << 20
# Decoders of these formats read a file whole, however large it says that it is.
_GREEDY = frozenset({"WEBP", "AVIF", "HEIF", "ICNS", "ICO", "CUR", "JPEG2000", "XPM"})
_GREEDIEST = 256 << 20
# Chunks of a PNG without which it looks the same.
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_DNG, _SUB_IFDS, _SUBFILE = 50706, 330, 254


class Unread(OSError):
    """A file that isn't read as a picture; the message says why, and what to do."""


class Truncated(OSError):
    """A picture whose pixels aren't all there."""


@contextlib.contextmanager
def stream(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes.

    Raises:
        Unread: if it is no regular file: a pipe would be waited for, a device never ends.
        OSError: if it can't be opened.
    """
    _regular(path.stat().st_mode, path)
    # Should a pipe have come in its place: without this, opening it would wait for a writer.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(number, "rb") as file:
        _regular(os.fstat(number).st_mode, path)
        yield file


def _regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        what = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise Unread(f"not a regular file: {what}; delete it, or put an image file in its place")


class _Bounded:
    """A file that ends the search for a picture's header after so many reads, each of which may be a byte."""

    MOST = 100_000

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.left: float = self.MOST

    def read(self, *size: int) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise SyntaxError("no header within reach")
        return self._file.read(*size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def opened(file: IO[bytes]) -> Image.Image:
    """Open a picture's header; what Pillow makes of its pixels is asked for later.

    Raises:
        Unread: if it isn't a picture that is read.
        Exception: whatever Pillow's plugins raise on a damaged header.
    """
    head = file.read(kinds.HEAD)
    file.seek(0)
    bounded = _Bounded(file)
    try:
        # mypy: it answers as its file does.
        image = _identified(bounded, head)  # type: ignore[arg-type]
    except (UnidentifiedImageError, SyntaxError):
        raise Unread(kinds.unread(head)) from None
    bounded.left = float("inf")
    if image.format == "TIFF":
        _refuse_raw(image)
    if image.format in _GREEDY and _length(file) > _GREEDIEST:
        raise Unread(f"{_length(file):,} bytes, more than any picture of its kind; replace it")
    return image


def _identified(file: IO[bytes], head: bytes) -> Image.Image:
    try:
        return Image.open(file, formats=kinds.USUAL)
    except UnidentifiedImageError:
        file.seek(0)
    if head[:4] == b"RIFF" and _length(file) > _GREEDIEST:
        raise UnidentifiedImageError
    if kinds.is_heic(head):
        _learn_heif()
    Image.init()
    return Image.open(file, formats=[name for name in kinds.OTHERS if name in Image.OPEN])


def _learn_heif() -> None:
    """HEIC is read where somebody has installed pillow-heif or pi-heif."""
    for name in ("pillow_heif", "pi_heif"):
        with contextlib.suppress(Exception):
            importlib.import_module(name).register_heif_opener()
            return


def _length(file: IO[bytes]) -> int:
    place = file.tell()
    length = file.seek(0, os.SEEK_END)
    file.seek(place)
    return length


def _refuse_raw(image: Image.Image) -> None:
    """Cameras' raw files are TIFFs whose first picture is a thumbnail."""
    tags: Any = getattr(image, "tag_v2", {})
    small = isinstance(tags.get(_SUBFILE), int) and tags.get(_SUBFILE) & 1
    if _DNG in tags or (_SUB_IFDS in tags and small):
        kind = (
            "camera RAW (DNG)" if _DNG in tags else "camera RAW, or another TIFF that begins with a preview"
        )
        raise Unread(f"not an image that is read: {kind}; export it as PNG or JPEG")


def orientation(image: Image.Image) -> int:
    """How a camera was held, 1 (upright) to 8; 1 where a picture says nothing that can be read.

    Nothing else of its EXIF is looked at.
    """
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises anything on odd EXIF
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def load(image: Image.Image, file: IO[bytes]) -> tuple[Image.Image, int]:
    """Decode an opened picture; give it with its orientation, in which it doesn't lie yet.

    Raises:
        Exception: whatever Pillow raises on damaged data.
    """
    if image.format != "TIFF":
        image.load()
        return image, orientation(image)
    try:
        image.load()  # Pillow turns TIFFs upright by itself, and writes their EXIF again for it
        return image, 1
    except Exception as error:
        turn = _tag(image, ExifTags.Base.Orientation)
        try:
            file.seek(0)
            again: Any = Image.open(file, formats=("TIFF",))
            planar(again)
            again.load_end = lambda: None
            again.load()
        except Exception:
            raise error from None
        # Pillow has swapped its sides already.
        return again._new(again.im), turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _tag(image: Image.Image, number: int) -> Any:
    try:
        return getattr(image, "tag_v2", {}).get(number)
    except Exception:  # a value that can't be read
        return None


def planar(image: Image.Image) -> None:
    """Read 16-bit TIFFs with a plane for each color as they are: Pillow takes their bytes for pixels."""
    bits, plane = _tag(image, 258), _tag(image, 284)
    if image.format != "TIFF" or plane != 2 or not bits or set(bits) != {16}:
        return
    own: Any = image
    end = "B" if own.tag_v2.prefix == b"MM" else "L"
    own.tile = [
        tile._replace(args=(f"{tile.args[0]};16{end}", 0, *tile.args[2:]))
        if tile.args and tile.args[0] in ("R", "G", "B", "A")
        else tile
        for tile in own.tile
    ]


def without_notes(content: bytes) -> bytes | None:
    """A PNG or JPEG less what isn't its pixels; None if there is nothing of the kind."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _bare_png(content)
    if content.startswith(b"\xff\xd8"):
        return _bare_jpeg(content)
    return None


def _bare_png(content: bytes) -> bytes | None:
    at, kept, orientation_chunk, dropped = 8, [content[:8]], b"", False
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, chunk = content[at + 4 : at + 8], content[at : at + 12 + length]
        if not kind.isalpha():
            break
        if kind in _NEEDED:
            kept.append(chunk)
        else:
            dropped = True
            if kind == b"eXIf" and not orientation_chunk:
                orientation_chunk = _eight(content[at + 8 : at + 8 + length])
        at += 12 + length
        if kind == b"IEND":
            break
    if not dropped:
        return None
    return b"".join([*kept[:2], orientation_chunk, *kept[2:]])


def _eight(exif: bytes) -> bytes:
    """An eXIf chunk that says the orientation of another, and nothing else; empty if it says none."""
    found = Image.Exif()
    try:
        found.load(exif)
        turn = found.get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises anything on odd EXIF
        return b""
    if not isinstance(turn, int) or not 1 <= turn <= 8:
        return b""
    body = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ExifTags.Base.Orientation, 3, 1, turn, 0, 0)
    return struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))


def _bare_jpeg(content: bytes) -> bytes | None:
    at, kept, dropped = 2, [content[:2]], False
    while at + 4 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == 0xFF:
            at += 1
            continue
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xDA or length < 2:
            break
        # APP0 and APP14 say how colors are coded.
        if marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE):
            dropped = True
        else:
            kept.append(content[at : at + 2 + length])
        at += 2 + length
    return b"".join([*kept, content[at:]]) if dropped else None


def from_bytes(content: bytes) -> IO[bytes]:
    """A file in memory."""
    return io.BytesIO(content)
