"""Pictures of more than 8 bits as 8: which of their values is black, and which is white.

Twelve bits in 16, Hounsfield units, 8 bits in 32: a file doesn't say what its brightest value would be. So
the range is that of the training images, snapped to whole bits where they fill half of them, and a net
carries it with it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

# The values that become 0 and 255; between them they are divided evenly.
Levels = tuple[int, int]
# Of 16 bits: as all nets read them whose file says nothing.
WIDE: Levels = (0, 65535)
_BITS = (8, 10, 12, 14, 16)
# Shares of the values, at either end, that may be odd pixels; and how much larger they make the range then.
ODD, FAR = 0.001, 4
_SAMPLE = 1 << 16

Bytes = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]


def is_deep(image: Image.Image) -> bool:
    """Whether an opened picture has more than 8 bits of grey, or of a color."""
    return image.mode.startswith("I") or is_color(image)


def is_color(image: Image.Image) -> bool:
    """Whether an opened picture has 16 bits of each color, of which Pillow gives the upper 8."""
    return image.mode in ("RGB", "RGBA") and bool(_raw(image) & {"L", "B", "N"})


def _raw(image: Image.Image) -> set[str]:
    """The byte orders of a 16-bit color picture's data, of which the other one can be asked for."""
    found = set()
    for tile in getattr(image, "tile", ()):
        args = tile[3]
        word = args if isinstance(args, str) else args[0] if args else ""
        if isinstance(word, str) and word.partition(";16")[1] and word.partition(";16")[0] != "LA":
            found.add(word[-1])
    return found


def swap(image: Image.Image) -> None:
    """Make an opened picture of 16 bits a color give the lower 8 of them."""
    own: Any = image
    other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
    tiles = []
    for tile in own.tile:
        word = tile.args if isinstance(tile.args, str) else tile.args[0]
        word = word[:-1] + other[word[-1]]
        tiles.append(tile._replace(args=word if isinstance(tile.args, str) else (word, *tile.args[1:])))
    own.tile = tiles


def values(image: Image.Image, inverted_from: int | None = None, unsigned: bool = False) -> Values:
    """A grey picture's values as they are in the file, (H, W).

    Args:
        image: of one of Pillow's modes I.
        inverted_from: the value that is black, where the file counts downward from it.
        unsigned: its 32 bits hold no sign.
    """
    found = np.asarray(image)
    if unsigned and found.dtype == np.int32:
        found = found.view(np.uint32)
    return found if inverted_from is None else inverted_from - found.astype(np.int64)


def eight(found: Values, levels: Levels) -> Bytes:
    """Values as bytes: ``levels`` become 0 and 255, what lies outside becomes the nearer of them.

    >>> eight(np.array([-5, 0, 2048, 4095, 9000]), (0, 4095))
    array([  0,   0, 127, 255, 255], dtype=uint8)
    """
    low, high = levels
    if levels == WIDE and found.dtype == np.uint16:
        return (found // 257).astype(np.uint8)
    clear = np.clip(found, low, high).astype(np.int64 if high - low > 1 << 22 else np.int32) - low
    return (clear * 255 // (high - low)).astype(np.uint8)


def extremes(found: Values) -> tuple[int, int, int, int]:
    """The least value, the least and the greatest that aren't odd ones, and the greatest."""
    low, high = int(found.min()), int(found.max())
    step = max(1, int((found.size / _SAMPLE) ** 0.5))
    some = found[::step, ::step]
    inner = np.quantile(some, (ODD, 1 - ODD), method="closest_observation")
    return low, int(inner[0]), int(inner[1]), high


def of_all(found: Sequence[tuple[int, int, int, int]]) -> Levels:
    """The levels for pictures with these :func:`extremes`.

    >>> of_all([(0, 3, 240, 250)]), of_all([(0, 9, 4000, 4090)]), of_all([(-1024, -1000, 900, 3000)])
    ((0, 255), (0, 4095), (-1024, 3000))
    """
    low, high = min(f[0] for f in found), max(f[3] for f in found)
    inner_low, inner_high = min(f[1] for f in found), max(f[2] for f in found)
    if (inner_high - inner_low) * FAR < high - low and inner_high > inner_low:
        low, high = inner_low, inner_high
    return _snapped(low, high)


def _snapped(low: int, high: int) -> Levels:
    """A range, or that of so many bits where it fills half of them."""
    if low >= 0:
        for bits in _BITS:
            most = (1 << bits) - 1
            if high <= most:
                if 2 * (high - low) >= most:
                    return 0, most
                break
    return (low, high) if high > low else (low, low + 1)
