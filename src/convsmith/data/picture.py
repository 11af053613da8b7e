"""One picture as pixels that a net reads, the same in training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from convsmith.data.conversion import converted, turned
from convsmith.data.fit import Fit, fitted, least_of, resized
from convsmith.data.levels import WIDE, Bytes, Levels
from convsmith.data.opening import orientation
from convsmith.data.quiet import quiet
from convsmith.data.reading import FLOATS, read_upright
from convsmith.errors import UserError


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
        pixels = read_upright(source, channels, levels, lambda full: least_of(full, size, fit))
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
            pixels = read_upright(source, channels, levels, lambda full: full)
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
    return turned(converted(picture, channels, levels), orientation(picture))


def sized(pixels: Tensor, size: int) -> Tensor:
    """Square images (N, S, S, C) uint8 at another size, bilinear and antialiased; on any device.

    >>> import torch
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
