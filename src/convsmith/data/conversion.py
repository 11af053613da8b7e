"""An opened picture as bytes of 8 bits, upright: many values, transparency, strips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convsmith.data.levels import Bytes, Levels, eight, extremes, of_all, values

# Difference of a picture's brightest and darkest pixel below which it is as good as one color.
FAINT = 16
# Pixels that are converted at a time.
STRIP = 1 << 22


def strips(image: Image.Image) -> Iterator[Image.Image]:
    """A picture in strips of a few million pixels, so that what is made of it on the way stays small."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def converted(
    image: Image.Image, channels: int, levels: Levels | None, low: Image.Image | None = None
) -> Bytes:
    """With 8 bits, in the channels asked for, or one where they would be alike: (H, W, channels).

    ``low`` holds the lower 8 of 16 bits a color.
    """
    if image.mode.startswith("I"):
        own = manner(image)
        if levels is None:
            image.load()
            levels = of_all([extremes(values(strip, *own)) for strip in strips(image)])
        grey = np.empty((image.height, image.width, 1), np.uint8)
        _fill(grey, (eight(values(strip, *own), levels)[:, :, None] for strip in strips(image)))
        return grey  # which becomes three colors when it is small
    mode = "L" if channels == 1 else "RGB"
    parts = strips(image) if low is None else _colors(image, low, levels)
    if not image.has_transparency_data:
        found = np.empty((image.height, image.width, channels), np.uint8)
        _fill(found, (_array(part if part.mode == mode else part.convert(mode)) for part in parts))
        return found
    image.load()
    return _over(lambda: strips(image) if low is None else _colors(image, low, levels), image.size, mode)


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
                extremes(wide(top, below)[:, :, :3].reshape(top.height, -1))
                for top, below in zip(strips(image), strips(low))
            ]
        )
    for top, below in zip(strips(image), strips(low)):
        part = eight(wide(top, below), levels)
        if part.shape[2] == 4:
            part[:, :, 3] = np.asarray(top)[:, :, 3]
        yield Image.fromarray(part)


def wide(top: Image.Image, below: Image.Image) -> npt.NDArray[np.uint16]:
    found: npt.NDArray[np.uint16] = np.asarray(top).astype(np.uint16) << 8 | np.asarray(below)
    return found


def manner(image: Image.Image) -> tuple[int | None, bool]:
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


def turned(pixels: Bytes, turn: int) -> Bytes:
    """Upright, by the orientation that EXIF gives."""
    if turn in (5, 7):
        pixels = pixels.swapaxes(0, 1)
    if turn in (2, 7):
        pixels = pixels[:, ::-1]
    if turn in (4, 7):
        pixels = pixels[::-1]
    return np.rot90(pixels, {3: 2, 6: -1, 8: 1}.get(turn, 0))


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
