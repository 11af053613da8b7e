"""Mixup and cutmix: two images in one, with a target in between."""

from __future__ import annotations

from typing import Annotated, Protocol

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from convsmith.catalog import technique
from convsmith.data.erasing import inside


class Mixing(Protocol):
    """An augmentation that mixes each image of a batch with another one."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the random numbers for n images, (n, ...) on the CPU."""

    def mix(self, images: Tensor, partners: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images (n, C, H, W), and each one's own share in them, (n,)."""


def _beta(alpha: float, n: int, generator: torch.Generator) -> Tensor:
    """n draws of Beta(alpha, alpha), whose generator is torch's."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n)).float()


@technique(
    "augmentation",
    "mixup",
    source="Zhang et al. 2018, mixup: Beyond empirical risk minimization",
    chapter="5 数据扩充 augmentation",
    use="long trainings that over-fit, and wrong labels",
)
class Mixup:
    """lambda * image + (1 - lambda) * another of the batch, targets alike; lambda ~ Beta(alpha, alpha).

    Args:
        alpha: > 0; the smaller, the more often one of the two prevails.
        p: share of the images that are mixed, in [0, 1].

    >>> Mixup(p=0.0).draw(2, torch.Generator())
    tensor([1., 1.])
    """

    def __init__(self, alpha: Annotated[float, Gt(0)] = 0.2, p: Annotated[float, Ge(0), Le(1)] = 1.0) -> None:
        self.alpha = alpha
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        own = _beta(self.alpha, n, generator)
        return torch.where(torch.rand(n, generator=generator) < self.p, own, torch.ones(n))

    def mix(self, images: Tensor, partners: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lerp(partners, images, drawn[:, None, None, None]), drawn


@technique(
    "augmentation",
    "cutmix",
    source="Yun et al. 2019, CutMix: Regularization strategy to train strong classifiers",
    chapter="5 数据扩充 augmentation",
    use="as mixup, for nets that shall look at all parts of an object",
)
class Cutmix:
    """A rectangle of another image of the batch pasted in; the target's share is that of the pixels left.

    The rectangle has 1 - lambda of the area, lambda ~ Beta(alpha, alpha), the image's own aspect and a
    center anywhere, and is cut off at the border.

    Args:
        alpha: > 0.
        p: share of the images that are mixed, in [0, 1].

    >>> Cutmix(p=0.0).draw(1, torch.Generator())[0, 0]
    tensor(1.)
    """

    def __init__(self, alpha: Annotated[float, Gt(0)] = 1.0, p: Annotated[float, Ge(0), Le(1)] = 0.5) -> None:
        self.alpha = alpha
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """lambda and the center as shares of the sides, (n, 3)."""
        own = _beta(self.alpha, n, generator)
        own = torch.where(torch.rand(n, generator=generator) < self.p, own, torch.ones(n))
        return torch.cat([own[:, None], torch.rand(n, 2, generator=generator)], 1)

    def mix(self, images: Tensor, partners: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        sides = torch.tensor([width, height], device=images.device)
        half = (1 - drawn[:, :1]).sqrt() * sides / 2
        center = drawn[:, 1:] * sides
        boxes = torch.cat([center - half, center + half], 1).round()
        pasted = inside(boxes, height, width)
        share = 1 - pasted.float().mean((1, 2))
        return torch.where(pasted[:, None], partners, images), share
