"""The crop of Inception: a random part of the image's area, of random aspect, resized to the whole."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor

from convsmith.catalog import technique
from convsmith.data.geometry import eyes, uniform

ATTEMPTS = 10


def boxes(
    n: int, size: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Widths and heights (n, 2) in whole pixels, as torchvision's RandomResizedCrop draws them.

    The area is uniform in ``scale`` of the image's, width : height uniform in its logarithm in ``ratio``;
    of ten attempts the first that fits into the image is taken, else all of the image.
    """
    total = n * ATTEMPTS
    area = uniform(total, *scale, generator) * size * size
    low, high = torch.tensor(ratio).log().tolist()
    aspect = uniform(total, low, high, generator).exp()
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).round().view(n, ATTEMPTS, 2)
    fits = ((sides > 0) & (sides <= size)).all(2)
    first = fits.int().argmax(1)
    chosen = sides[torch.arange(n), first]
    return torch.where(fits.any(1, keepdim=True), chosen, torch.full_like(chosen, size))


def boxed(sides: Tensor, corners: Tensor, size: int) -> Tensor:
    """Matrices that show the boxes with these widths and heights (n, 2) and upper left corners (n, 2)."""
    matrices = eyes(len(sides))
    matrices[:, 0, 0], matrices[:, 1, 1] = sides[:, 0] / size, sides[:, 1] / size
    matrices[:, :2, 2] = corners + (sides - size) / 2
    return matrices


@technique(
    "augmentation",
    "area_crop",
    source="Szegedy et al. 2015, Going deeper with convolutions, section 6; torchvision's RandomResizedCrop",
    chapter="5 数据扩充 augmentation",
    use="photographs of 64 pixels and more, in which objects come in all sizes and places",
)
class AreaCrop:
    """Cut out a random part of the image, and resize it to the whole.

    Args:
        size: side of the images in pixels.
        scale: least and largest share of the area, in (0, 1].
        ratio: least and largest width : height of the part.

    >>> AreaCrop(size=8, scale=(1, 1), ratio=(1, 1)).matrices(1, torch.Generator())[0].equal(torch.eye(3))
    True
    """

    def __init__(
        self,
        size: int,
        scale: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.08, 1.0),
        ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = size
        self.scale = scale
        self.ratio = ratio

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        sides = boxes(n, self.size, self.scale, self.ratio, generator)
        corners = (torch.rand(n, 2, generator=generator) * (self.size - sides + 1)).floor()
        return boxed(sides, corners, self.size)
