"""Augmentations of place: each is one 3x3 matrix an image, and all together are applied at once.

Coordinates are pixels from the image's center, (x, y, 1); a matrix maps an output pixel to the input
pixel it shows, so that the list ``[a, b]`` (first a, then b) composes to ``A @ B``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Le
from torch import Tensor

from convsmith.catalog import technique


class Geometry(Protocol):
    """An augmentation of place."""

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw one matrix for each of ``n`` images, (n, 3, 3) float32 on the CPU."""


@technique(
    "augmentation",
    "flip",
    source="Simonyan & Zisserman 2015",
    chapter="5 数据扩充 augmentation",
    use="left and right mean the same",
)
class Flip:
    """Mirror left and right with probability ``p``.

    Args:
        p: probability in [0, 1].

    >>> Flip(p=1.0).matrices(1, torch.Generator())[0].diag()
    tensor([-1.,  1.,  1.])
    """

    def __init__(self, p: Annotated[float, Ge(0), Le(1)] = 0.5) -> None:
        self.p = p

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        matrices = torch.eye(3).repeat(n, 1, 1)
        matrices[:, 0, 0] = 1 - 2 * (torch.rand(n, generator=generator) < self.p).float()
        return matrices


@technique(
    "augmentation",
    "crop",
    source="Krizhevsky et al. 2012; He et al. 2016, section 4.2",
    chapter="5 数据扩充 augmentation",
    use="objects aren't always in the same place",
)
class Crop:
    """Pad all sides with ``pad`` black pixels and cut the original size out at a random place.

    Args:
        pad: pixels; each shift from -pad to pad is as likely as any other, in x and y apart.

    >>> Crop(pad=0).matrices(1, torch.Generator())[0].equal(torch.eye(3))
    True
    """

    def __init__(self, pad: Annotated[int, Ge(0)] = 4) -> None:
        self.pad = pad

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        matrices = torch.eye(3).repeat(n, 1, 1)
        shifts = torch.randint(-self.pad, self.pad + 1, (n, 2), generator=generator)
        matrices[:, :2, 2] = shifts.float()
        return matrices


def compose(augmentations: Sequence[Geometry], n: int, generator: torch.Generator) -> Tensor:
    """Draw and multiply the matrices of a list, (n, 3, 3)."""
    total = torch.eye(3).repeat(n, 1, 1)
    for augmentation in augmentations:
        total = total @ augmentation.matrices(n, generator)
    return total


def move(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply mirrors and whole-pixel shifts by indexing: exact, without interpolation; outside is 0.

    Args:
        images: (N, H, W, C), any dtype and device.
        matrices: (N, 3, 3) with -1 or 1 on the diagonal and integer shifts in the last column.

    >>> row = torch.tensor([1, 2, 3]).view(1, 1, 3, 1)
    >>> move(row, torch.tensor([[[1.0, 0, 1], [0, 1, 0], [0, 0, 1]]])).flatten()
    tensor([2, 3, 0])
    """
    n, height, width, channels = images.shape
    matrices = matrices.to(images.device)
    xs = _sources(matrices[:, 0, 0], matrices[:, 0, 2], width)
    ys = _sources(matrices[:, 1, 1], matrices[:, 1, 2], height)
    inside = ((xs >= 0) & (xs < width))[:, None, :] & ((ys >= 0) & (ys < height))[:, :, None]
    place = ys.clamp(0, height - 1)[:, :, None] * width + xs.clamp(0, width - 1)[:, None, :]
    place = place + torch.arange(n, device=images.device)[:, None, None] * (height * width)
    moved = images.reshape(-1, channels).index_select(0, place.flatten()).view(images.shape)
    return moved * inside[..., None]


def _sources(sign: Tensor, shift: Tensor, length: int) -> Tensor:
    """For each output place of an axis the input place that it shows, (N, length)."""
    center = (length - 1) / 2
    out = torch.arange(length, device=sign.device) - center
    return (sign[:, None] * out + shift[:, None] + center).round().long()
