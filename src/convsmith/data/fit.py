"""How a picture of any shape becomes a square."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from convsmith.findings import Finding

Bytes = npt.NDArray[np.uint8]
# The center square is cut out; bands of grey are laid beside it; or its sides are made alike.
Fit = Literal["crop", "pad", "squash"]
# Of the bands: the middle of all values, where a picture's own color is unknown.
BAND = 128
# Pixels from which on a picture is resized one color at a time.
HUGE = 1 << 24
# Share of the images that the center square leaves out, from which on it isn't cut out; and from which on it
# is said.
MUCH, SOME = 0.5, 0.35
# Shapes are alike where nine of ten images differ by no more than this factor; so much larger than high,
# bands would leave a strip of a few pixels.
ALIKE, STRIP = 1.5, 4.0


def least_of(full: tuple[int, int], size: int, fit: Fit) -> tuple[int, int]:
    """The least width and height at which a picture of this one can be decoded without losing sharpness."""
    if fit != "pad":
        return size, size
    long = max(full)
    return max(1, round(full[0] * size / long)), max(1, round(full[1] * size / long))


def fitted(pixels: Bytes, size: int, fit: Fit) -> Bytes:
    """A picture (H, W, C) as (size, size, C).

    >>> picture = np.full((2, 4, 1), 9, np.uint8)
    >>> fitted(picture, 4, "pad")[:, 0, 0]
    array([128,   9,   9, 128], dtype=uint8)
    """
    height, width = pixels.shape[:2]
    if fit == "squash" or height == width:
        return resized(pixels, size, size)
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return resized(pixels[top : top + side, left : left + side], size, size)
    wide, high = least_of((width, height), size, "pad")
    found = np.full((size, size, pixels.shape[2]), BAND, np.uint8)
    top, left = (size - high) // 2, (size - wide) // 2
    found[top : top + high, left : left + wide] = resized(pixels, high, wide)
    return found


def resized(pixels: Bytes, height: int, width: int) -> Bytes:
    """A picture (H, W, C) at another size, bilinear and antialiased."""
    pixels = np.ascontiguousarray(pixels)
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.shape[0] * pixels.shape[1] > HUGE:
        return _plane_by_plane(pixels, height, width)
    planes = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    found = F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return np.ascontiguousarray(found[0].permute(1, 2, 0).numpy())


def _plane_by_plane(pixels: Bytes, height: int, width: int) -> Bytes:
    """The same by Pillow, within one level: torch takes four bytes for each pixel's color on the way."""
    planes = (Image.fromarray(np.ascontiguousarray(pixels[:, :, c])) for c in range(pixels.shape[2]))
    return np.stack(
        [np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR)) for plane in planes], axis=2
    )


def outside(shapes: Sequence[tuple[int, int]]) -> float:
    """The share of the images' pixels that lies outside their center squares, on average.

    >>> outside([(512, 32), (32, 32)])
    0.46875
    """
    return statistics.fmean(1 - min(shape) / max(shape) for shape in shapes)


def chosen_fit(shapes: Sequence[tuple[int, int]], reasons: dict[str, str]) -> Fit:
    """Choose how images of these widths and heights are made square; a reason where they aren't cropped."""
    lost = outside(shapes)
    if lost < MUCH:
        return "crop"
    ratios = sorted(width / height for width, height in shapes)
    tenth = len(ratios) // 20
    typical = statistics.median(max(shape) / min(shape) for shape in shapes)
    seen = f"the center square would leave {lost:.0%} of the images out"
    fit: Fit = "squash"
    if ratios[-1 - tenth] <= ALIKE * ratios[tenth]:
        why = "all have about the same shape, so that all are squeezed alike"
    elif typical > STRIP:
        why = f"half of them are {typical:.2g}:1 or longer, so that bands would be most of each"
    else:
        fit, why = "pad", "their shapes differ, and bands beside them keep all proportions"
    reasons["data.fit"] = f"{seen}; {why}"
    return fit


def shape_findings(shapes: Sequence[tuple[int, int]], fit: Fit) -> list[Finding]:
    """What the center square leaves out, where that is much."""
    lost = outside(shapes)
    if fit != "crop" or lost < SOME:
        return []
    typical = statistics.median(max(shape) / min(shape) for shape in shapes)
    return [
        Finding(
            seen=f"{lost:.0%} of the images lies outside the center square that the net sees (half of them "
            f"are {typical:.2g}:1 or longer)",
            means="what is to be seen there alone can't be learned, or found later",
            change="`data.fit=squash` shows whole images squeezed, `data.fit=pad` with bands beside them",
            why="a net learns from what it is shown",
            source="scan",
            name="outside_square",
        )
    ]
