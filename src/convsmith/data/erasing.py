"""Random erasing: a rectangle of the image is hidden."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from convsmith.catalog import technique
from convsmith.data.geometry import uniform


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in the boxes (n, 4) of left, upper, right and lower edges; (n, height, width) bool.

    >>> inside(torch.tensor([[1.0, 0.0, 3.0, 1.0]]), 2, 4).int()
    tensor([[[0, 1, 1, 0],
             [0, 0, 0, 0]]], dtype=torch.int32)
    """
    xs, ys = (torch.arange(side, device=boxes.device) for side in (width, height))
    left, upper, right, lower = boxes[:, :, None].unbind(1)
    columns, rows = (xs >= left) & (xs < right), (ys >= upper) & (ys < lower)
    return rows[:, :, None] & columns[:, None, :]


@technique(
    "augmentation",
    "erase",
    source="Zhong et al. 2020, Random erasing data augmentation; DeVries & Taylor 2017, cutout",
    chapter="5 数据扩充 augmentation",
    use="objects are partly hidden; a strong regularizer for long trainings",
)
class Erase:
    """With probability ``p`` a rectangle becomes the training set's mean color.

    Args:
        size: side of the images in pixels.
        mean: color, (C,), or image, (H, W, C), in [0, 255].
        p: in [0, 1].
        area: least and largest share of the image's area.
        ratio: least and largest height : width; uniform in its logarithm.

    >>> Erase(size=4, mean=torch.zeros(3), p=0.0).draw(1, torch.Generator())
    tensor([[0., 0., 0., 0.]])
    """

    def __init__(
        self,
        size: int,
        mean: Tensor,
        p: Annotated[float, Ge(0), Le(1)] = 0.5,
        area: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.02, 0.33),
        ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.3, 3.3),
    ) -> None:
        self.size = size
        self.mean = mean
        self.p = p
        self.area = area
        self.ratio = ratio

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Left, upper, right and lower edges of the rectangles, (n, 4); all 0 where there is none."""
        area = uniform(n, *self.area, generator) * self.size**2
        low, high = torch.tensor(self.ratio).log().tolist()
        aspect = uniform(n, low, high, generator).exp()
        sides = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], 1).round().clamp(1, self.size)
        corners = (torch.rand(n, 2, generator=generator) * (self.size - sides + 1)).floor()
        here = torch.rand(n, generator=generator) < self.p
        return torch.cat([corners, corners + sides], 1) * here[:, None]

    def change(self, images: Tensor, drawn: Tensor) -> Tensor:
        mean = self.mean.to(images)
        fill = mean.permute(2, 0, 1) if mean.ndim == 3 else mean[:, None, None]
        return torch.where(inside(drawn, *images.shape[2:])[:, None], fill, images)
