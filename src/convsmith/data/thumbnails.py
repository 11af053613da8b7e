"""Small grey versions of images, and how unlike two of them are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convsmith.data.pixels import Store

SIDE = 16
# Variance, as a share of the image's own, below which a place counts as even: compression changes it.
EVEN = 0.08**2


def thumbnails(store: Store, rows: Tensor) -> Tensor:
    """Grey thumbnails (N, 256) of mean 0 and contrast 1, in float16: half a gigabyte for a million."""
    found = torch.empty(len(rows), SIDE * SIDE, dtype=torch.float16)
    for out, pixels in zip(torch.split(found, 256), store.stream(torch.split(rows, 256))):
        grey = pixels.sum(3, dtype=torch.int32)[:, None].float() / pixels.shape[3]
        small = F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", antialias=True).flatten(1)
        small = small - small.mean(1, keepdim=True)
        out.copy_(small / (small.std(1, keepdim=True) + 1))
    return found


def tinted(store: Store, rows: Tensor) -> Tensor:
    """Small images less their grey (N, 16, 16, 3), in levels; zeros for images of one channel."""
    found = torch.zeros(len(rows), SIDE, SIDE, 3)
    for out, pixels in zip(torch.split(found, 256), store.stream(torch.split(rows, 256))):
        if pixels.shape[3] == 3:
            planes = pixels.permute(0, 3, 1, 2).float()
            small = F.interpolate(planes, size=(SIDE, SIDE), mode="bilinear", antialias=True)
            out.copy_((small - small.mean(1, keepdim=True)).permute(0, 2, 3, 1))
    return found


def unlikeness(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference over the variance around each place, (n, 256) twice to (n,).

    Of different pictures it is about 1, of copies some hundredths, whatever the layout: where pictures have
    the same outline on the same even page, what is within the outline decides. Even places hardly count.

    >>> same = torch.randn(1, 256, generator=torch.Generator().manual_seed(0))
    >>> round(float(unlikeness(same, same)), 3), round(float(unlikeness(same, -same)), 1)
    (0.0, 2.6)
    """
    one, other = (own.float().view(-1, SIDE, SIDE) for own in (one, other))
    around = (_variance(one) + _variance(other)) / 2
    weight = around / (around + EVEN)
    ratio = (one - other).square() / (2 * (around + EVEN))
    found: Tensor = (weight * ratio).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)
    return found


def _variance(maps: Tensor) -> Tensor:
    """Of the 3 x 3 places around each, (n, SIDE, SIDE)."""
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="replicate")
    mean, squares = F.avg_pool2d(padded, 3, 1), F.avg_pool2d(padded.square(), 3, 1)
    found: Tensor = (squares - mean.square()).clamp_min(0)[:, 0]
    return found
