"""Center loss: the features of a class shall lie close together."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean


@technique(
    "term",
    "center",
    source="Wen et al. 2016, A discriminative feature learning approach for deep face recognition",
    chapter="8 目标函数 objectives",
    use="features should cluster by class (faces, retrieval); beside cross_entropy",
)
class CenterLoss(nn.Module):
    """weight / 2 * mean over images of |x_i - c_(y_i)|^2, with a center c for each class.

    The paper sums over the batch; here it is the mean, as all terms. After each training batch a center
    moves by -rate * sum(c - x_i) / (1 + n) over its n images (the paper's equation 4); centers are
    buffers, which no optimizer touches, and start at 0. Several processes move them together.

    Args:
        num_classes: K.
        num_features: D.
        weight: lambda, >= 0.
        rate: alpha in [0, 1].

    >>> loss = CenterLoss(2, 3)
    >>> round(loss(torch.ones(1, 3), torch.tensor([0])).item(), 5)
    0.0045
    >>> loss.centers[0]
    tensor([0.2500, 0.2500, 0.2500])
    """

    targets = ("classes",)
    centers: Tensor

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        weight: Annotated[float, Ge(0)] = 0.003,
        rate: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.rate = rate
        self.register_buffer("centers", torch.zeros(num_classes, num_features))

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        # indexed, so a copy: the update below leaves this loss's gradient alone
        features = wide(features)
        distances = features - self.centers[target]
        if self.training:
            self.move(features.detach(), target)
        return mean(distances.square().sum(1)) * (self.weight / 2)

    @torch.no_grad()
    def move(self, features: Tensor, target: Tensor) -> None:
        """The update of the centers by one batch."""
        ones = torch.ones_like(target, dtype=self.centers.dtype)
        counts = torch.zeros_like(self.centers[:, 0]).index_add_(0, target, ones)
        sums = torch.zeros_like(self.centers).index_add_(0, target, features.to(self.centers.dtype))
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(sums)
        change = (self.centers * counts[:, None] - sums) / (1 + counts[:, None])
        self.centers -= self.rate * change
