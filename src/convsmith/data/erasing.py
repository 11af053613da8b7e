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
        mean: color, (C,), or image, (H, W, C), in [0, 255].
        p: in [0, 1].
        area: least and largest share of the image's area.
        ratio: least and largest height : width; uniform in its logarithm.

    >>> Erase(torch.zeros(3), p=0.0).draw(1, torch.Generator())
    tensor([[0., 0., 0., 0.]])
    """

    def __init__(
        self,
        mean: Tensor,
        p: Annotated[float, Ge(0), Le(1)] = 0.5,
        area: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.02, 0.4),
        ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.3, 1 / 0.3),
    ) -> None:
        self.mean = mean
        self.p = p
        self.area = area
        self.ratio = ratio

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Left, upper, right and lower edges in shares of the sides, (n, 4); all 0 where there is none."""
        area = uniform(n, *self.area, generator)
        low, high = torch.tensor(self.ratio).log().tolist()
        aspect = uniform(n, low, high, generator).exp()
        sides = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], 1).clamp_max(1)
        corners = torch.rand(n, 2, generator=generator) * (1 - sides)
        here = torch.rand(n, generator=generator) < self.p
        return torch.cat([corners, corners + sides], 1) * here[:, None]

    def change(self, images: Tensor, drawn: Tensor) -> Tensor:
        mean = self.mean.to(images)
        fill = mean.permute(2, 0, 1) if mean.ndim == 3 else mean[:, None, None]
        height, width = images.shape[2:]
        boxes = (drawn * torch.tensor([width, height, width, height], device=drawn.device)).round()
        return torch.where(inside(boxes, height, width)[:, None], fill, images)
