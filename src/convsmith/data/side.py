"""The side of the images in pixels, as the net reads them and as they are stored."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from convsmith import recipe as recipes
from convsmith.data.fit import Fit
from convsmith.data.scan import Header

# The side that a net wants for images of so many pixels, and why; None if it wants no other.
Enlarged = Callable[[int], tuple[int, str] | None]
# Largest side that is chosen, in pixels, and the share of the images' side that a choice keeps.
LARGEST, KEPT = 224, 0.9
# Pixels by which images are stored larger than the net reads them, so that crops needn't be enlarged.
ROOM = 32


def own_side(header: Header, fit: Fit) -> int:
    """The side of the square that an image becomes, in pixels, without being enlarged or made smaller.

    >>> [own_side(Header(90, 40, "L", ""), fit) for fit in ("crop", "pad", "squash")]
    [40, 90, 60]
    """
    if fit == "squash":
        return round(math.sqrt(header.width * header.height))
    return (max if fit == "pad" else min)(header.width, header.height)


def common_size(
    headers: Sequence[Header], reasons: dict[str, str], enlarged: Enlarged | None, fit: Fit = "crop"
) -> int:
    """Choose the side of the images, in pixels: their own where all are small, else a multiple of 32."""
    sides = [own_side(header, fit) for header in headers]
    middle = statistics.median(sides)
    name = {"crop": "short side", "pad": "long side", "squash": "side of a square as large as the image"}[fit]
    if max(sides) <= 64 and len(set(sides)) == 1:
        size, why = max(4, sides[0]), f"all images have {sides[0]} pixels on the {name}"
    elif middle >= LARGEST:
        size, why = LARGEST, f"the median {name} is {middle:g} pixels: {LARGEST} is the usual side"
    else:
        # The smallest multiple that keeps nine tenths of the side: to the next one below, images of 63
        # pixels would lose three quarters of their pixels.
        size = min(LARGEST, max(32, 32 * math.ceil(KEPT * middle / 32)))
        why = f"the median {name} is {middle:g} pixels; nets halve multiples of 32 without a rest"
    larger = enlarged(size) if enlarged is not None else None
    size, more = larger if larger is not None else (size, "")
    reasons["data.size"] = f"{why}; {more}" if more else why
    return size


def side_of_store(section: recipes.Data, size: int, headers: Sequence[Header], fit: Fit = "crop") -> int:
    """Choose the side at which images are stored: larger than the net's where crops can use it."""
    crops = section.augment is None or "area_crop" in section.augment
    larger = statistics.median(own_side(header, fit) for header in headers) >= size + ROOM
    return size + ROOM if crops and larger and size >= LARGEST else size
