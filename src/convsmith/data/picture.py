"""One picture as pixels that a net reads, the same in training, evaluation and prediction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from convsmith.data import jpeg
from convsmith.data.fit import Fit, fitted, least_of, resized
from convsmith.data.levels import WIDE, Bytes, Levels, eight, extremes, is_color, of_all, swap, values
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
from convsmith.errors import UserError

# Difference of a picture's brightest and darkest pixel below which it is as good as one color.
FAINT = 16
# Pixels that are converted at a time.
STRIP = 1 << 22
# Bytes of a PNG or JPEG that are read to leave its notes out.
MOST_READ = 1 << 28
STREAMS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
FLOATS = "floating-point pixels of unknown range; save it with 8 or 16 bits"


class _Quiet:
    """Within it Pillow doesn't warn, in any thread: what a file is worth is said of all files together.

    ``warnings.catch_warnings`` keeps and restores the filters of the whole process. Of several threads, each
    with one of its own, the last may restore what another had set, and all warnings are gone for good.
    """

    def __init__(self) -> None:
        self._lock, self._within = Lock(), 0
        self._kept: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._kept = warnings.catch_warnings()
                self._kept.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._within += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0 and self._kept is not None:
                self._kept.__exit__(None, None, None)


quiet = _Quiet()


def decode(
    source: Path | bytes, size: int, channels: int, fit: Fit = "crop", levels: Levels | None = WIDE
) -> Bytes:
    """One image as (size, size, channels) uint8, the same way in training, evaluation and prediction.

    EXIF orientation is applied, transparency laid over white, more than 8 bits scaled to 8, the first frame
    taken; then it is made square and resized to ``size`` (bilinear, antialiased). A JPEG at least
    twice as large as needed is decoded at 1/2, 1/4 or 1/8 of its size, which is quicker and as sharp.

    Args:
        source: a file, or its bytes.
        size: side in pixels.
        channels: 1 or 3.
        fit: how it is made square: see :data:`Fit`.
        levels: the values of more than 8 bits that become 0 and 255; None: by the file's own values.

    Raises:
        Unread: if it is no picture that is read, with the reason and what to do.
        OSError: if the image is truncated or damaged.

    >>> import io; file = io.BytesIO(); Image.new("L", (9, 5), 7).save(file, "png")
    >>> decode(file.getvalue(), size=4, channels=3).shape
    (4, 4, 3)
    """
    with quiet:
        pixels = _read(source, channels, levels, lambda full: least_of(full, size, fit))
    return in_channels(fitted(pixels, size, fit), channels)


def pixels_of(
    picture: Bytes | Image.Image,
    size: int,
    channels: int,
    fit: Fit = "crop",
    levels: Levels | None = WIDE,
) -> Bytes:
    """A picture in memory as :func:`decode` gives a file: (size, size, channels) uint8.

    Args:
        picture: uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or one of Pillow's images.
        size, channels, fit, levels: as for :func:`decode`.

    Raises:
        UserError: if an array is of another type or shape, or an image's pixels are floating-point numbers.

    >>> pixels_of(np.zeros((5, 9), np.uint8), size=4, channels=3).shape
    (4, 4, 3)
    """
    with quiet:
        return in_channels(fitted(_in_memory(picture, channels, levels), size, fit), channels)


def whole(
    source: Path | Bytes | Image.Image,
    shorter: Callable[[int], int],
    channels: int,
    fit: Fit = "crop",
    levels: Levels | None = WIDE,
) -> tuple[Bytes, tuple[int, int]]:
    """A whole picture, uncut, at the scale and in the shape in which :func:`decode` shows it to a net.

    Args:
        source: a file, or a picture in memory.
        shorter: gives the side to which the picture's own is brought, both in pixels; its own is the shorter
            one, or that of the square with bands (``"pad"``).
        channels: 1 or 3.
        fit: ``"crop"`` keeps its shape, ``"squash"`` makes it square, ``"pad"`` lays bands beside it.
        levels: as for :func:`decode`.

    Returns:
        the pixels, (H, W, channels) uint8, and the picture's own height and width, upright.

    >>> pixels, own = whole(np.zeros((5, 9), np.uint8), lambda side: 2 * side, channels=3)
    >>> pixels.shape, own
    ((10, 18, 3), (5, 9))
    """
    with quiet:
        if isinstance(source, Path):
            pixels = _read(source, channels, levels, lambda full: full)
        else:
            pixels = _in_memory(source, channels, levels)
    full = pixels.shape[0], pixels.shape[1]
    own = max(full) if fit == "pad" else min(full)
    wanted = shorter(own)
    if fit != "crop":
        return in_channels(fitted(pixels, wanted, fit), channels), full
    height, width = (round(side * wanted / own) for side in full)
    return in_channels(resized(pixels, height, width), channels), full


def in_channels(pixels: Bytes, channels: int) -> Bytes:
    """A grey picture (H, W, 1) as (H, W, channels); others as they are."""
    return pixels if pixels.shape[2] == channels else pixels.repeat(channels, axis=2)


def measured(source: Path) -> tuple[int, int, int, int]:
    """The values of a picture of more than 8 bits, as :func:`convsmith.data.levels.extremes` gives them.

    Raises:
        Exception: whatever Pillow raises on damaged data.
    """
    with quiet, stream(source) as file:
        image = _opened(file)
        if is_color(image):
            image.load()
            upper = max(int(band[1]) for band in image.getextrema()[:3])  # type: ignore[index]
            if upper >= 128:  # all 16 bits are used, and their range is known without the lower ones
                return 0, 0, WIDE[1], WIDE[1]
            low = _lower(file)
            found = [
                extremes(_wide(top, below)[:, :, :3].reshape(top.height, -1))
                for top, below in zip(_strips(image), _strips(low))
            ]
        else:
            image, _ = load(image, file)
            found = [extremes(values(strip, *_manner(image))) for strip in _strips(image)]
    lows, inner_lows, inner_highs, highs = zip(*found)
    return min(lows), min(inner_lows), max(inner_highs), max(highs)


def _opened(file: IO[bytes]) -> Image.Image:
    image = opened(file)
    planar(image)
    if image.mode == "F":
        raise Unread(FLOATS)
    return image


def _read(
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
    image = _opened(file)
    found = None
    if content is not None and content.startswith(jpeg.START):
        found = jpeg.layout(content)
        if found is not None and not found.closed:
            content = content[: found.end] + jpeg.END
            file = from_bytes(content)
            image = _opened(file)
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
    return _turned(_converted(image, channels, levels, low), turn)


def _is_grey(pixel: tuple[Any, ...]) -> bool:
    """Whether a pixel is what libjpeg paints where it has no data."""
    return all(abs(int(value) - 128) <= 3 for value in pixel)


def _refuse_torn(content: bytes, found: jpeg.Layout) -> None:
    if jpeg.torn(content, found):
        raise Truncated("truncated image")


def _in_memory(picture: Bytes | Image.Image, channels: int, levels: Levels | None) -> Bytes:
    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        if (
            array.dtype != np.uint8
            or array.ndim not in (2, 3)
            or array.shape[2:] not in ((), (1,), (3,), (4,))
        ):
            raise UserError(
                f"a picture as an array is uint8, (H, W) or (H, W, 3); got {array.dtype} {array.shape}"
            )
        picture = Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)
    if picture.mode == "F":
        raise UserError(f"the picture has {FLOATS}")
    return _turned(_converted(picture, channels, levels), orientation(picture))


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """A picture in strips of a few million pixels, so that what is made of it on the way stays small."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _converted(
    image: Image.Image, channels: int, levels: Levels | None, low: Image.Image | None = None
) -> Bytes:
    """With 8 bits, in the channels asked for, or one where they would be alike: (H, W, channels).

    ``low`` holds the lower 8 of 16 bits a color.
    """
    if image.mode.startswith("I"):
        manner = _manner(image)
        if levels is None:
            image.load()
            levels = of_all([extremes(values(strip, *manner)) for strip in _strips(image)])
        grey = np.empty((image.height, image.width, 1), np.uint8)
        _fill(grey, (eight(values(strip, *manner), levels)[:, :, None] for strip in _strips(image)))
        return grey  # which becomes three colors when it is small
    mode = "L" if channels == 1 else "RGB"
    parts = _strips(image) if low is None else _colors(image, low, levels)
    if not image.has_transparency_data:
        found = np.empty((image.height, image.width, channels), np.uint8)
        _fill(found, (_array(part if part.mode == mode else part.convert(mode)) for part in parts))
        return found
    image.load()
    return _over(lambda: _strips(image) if low is None else _colors(image, low, levels), image.size, mode)


def _over(parts: Callable[[], Iterator[Image.Image]], size: tuple[int, int], mode: str) -> Bytes:
    """A picture with transparency over white; over black, or as if it had none, where white shows nothing.

    Many programs write an alpha of 0 everywhere and mean nothing by it; white drawings are drawn for dark.
    """
    best: Bytes | None = None
    for ground in ("white", "black", None):
        found = np.empty((size[1], size[0], 1 if mode == "L" else 3), np.uint8)
        _fill(found, (_array(_laid(part.convert("RGBA"), ground).convert(mode)) for part in parts()))
        if best is None or span(found) > span(best):
            best = found
        if span(best) >= FAINT:
            break
    assert best is not None
    return best


def _laid(part: Image.Image, ground: str | None) -> Image.Image:
    if ground is None:
        return part.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", part.size, ground), part)


def _colors(image: Image.Image, low: Image.Image, levels: Levels | None) -> Iterator[Image.Image]:
    """Strips of a picture of 16 bits a color, with 8; transparency keeps its upper 8."""
    if levels is None:
        levels = of_all(
            [
                extremes(_wide(top, below)[:, :, :3].reshape(top.height, -1))
                for top, below in zip(_strips(image), _strips(low))
            ]
        )
    for top, below in zip(_strips(image), _strips(low)):
        part = eight(_wide(top, below), levels)
        if part.shape[2] == 4:
            part[:, :, 3] = np.asarray(top)[:, :, 3]
        yield Image.fromarray(part)


def _wide(top: Image.Image, below: Image.Image) -> npt.NDArray[np.uint16]:
    found: npt.NDArray[np.uint16] = np.asarray(top).astype(np.uint16) << 8 | np.asarray(below)
    return found


def _lower(file: IO[bytes]) -> Image.Image:
    """The lower 8 of 16 bits a color."""
    place = file.tell()
    file.seek(0)
    image = _opened(file)
    swap(image)
    image, _ = load(image, file) if image.format != "TIFF" else (_loaded(image), 1)
    file.seek(place)
    return image


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _manner(image: Image.Image) -> tuple[int | None, bool]:
    """How a picture's values are meant: the value that is black if they count downward, and if unsigned."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, signs = tags.get(258, ()), tags.get(339, (1,))
    unsigned = bool(bits) and tuple(signs)[:1] == (1,)
    black = ((1 << bits[0]) - 1 if unsigned else 0) if bits and tags.get(262) == 0 else None
    return black, unsigned and bits[0] == 32


def _array(image: Image.Image) -> Bytes:
    found = np.asarray(image)
    return found[:, :, None] if found.ndim == 2 else found


def _fill(found: Bytes, parts: Iterator[Bytes]) -> None:
    top = 0
    for part in parts:
        found[top : top + len(part)] = part
        top += len(part)


def _turned(pixels: Bytes, turn: int) -> Bytes:
    """Upright, by the orientation that EXIF gives."""
    if turn in (5, 7):
        pixels = pixels.swapaxes(0, 1)
    if turn in (2, 7):
        pixels = pixels[:, ::-1]
    if turn in (4, 7):
        pixels = pixels[::-1]
    return np.rot90(pixels, {3: 2, 6: -1, 8: 1}.get(turn, 0))


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


def span(pixels: Bytes) -> int:
    """The greatest difference between two pixels of a picture in one channel, 0 to 255.

    >>> span(np.array([[[3, 200]], [[9, 200]]], np.uint8))
    6
    """
    rows = pixels.reshape(-1, pixels.shape[-1])
    some = rows[:: max(1, len(rows) // 256)]
    found = int((some.max(0) - some.min(0)).max())
    # Of most pictures a few places tell already that there is something to be seen.
    return found if found >= FAINT else int((rows.max(0) - rows.min(0)).max())


def sized(pixels: Tensor, size: int) -> Tensor:
    """Square images (N, S, S, C) uint8 at another size, bilinear and antialiased; on any device.

    >>> sized(torch.full((1, 4, 4, 3), 7, dtype=torch.uint8), 2).unique()
    tensor([7], dtype=torch.uint8)
    """
    if pixels.shape[1] == size:
        return pixels
    planes = pixels.permute(0, 3, 1, 2)
    if pixels.device.type == "cpu":
        found = F.interpolate(planes, (size, size), mode="bilinear", antialias=True)
    else:  # CUDA resizes floats only
        floats = F.interpolate(planes.float(), (size, size), mode="bilinear", antialias=True)
        found = floats.round().to(torch.uint8)
    return found.permute(0, 2, 3, 1)
