"""Global pooling by name: each map becomes one number, (N, C, H, W) to (N, C)."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith.catalog import technique


@technique(
    "global_pooling",
    "average",
    source="Lin et al. 2014, Network in network",
    chapter="1 基本部件 layers",
    use="the default before a classifier: no parameters, any image size",
)
class GlobalAverage(nn.Module):
    """The mean of each map, (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@technique(
    "global_pooling",
    "generalized_mean",
    source="Radenovic et al. 2019 (GeM)",
    chapter="1 基本部件 layers",
    use="the object fills a small part of the image; retrieval",
)
class GeneralizedMean(nn.Module):
    """(mean of max(x, eps)^p)^(1/p) of each map with a learned p, (N, C, H, W) to (N, C).

    >>> round(float(GeneralizedMean(p=2.0)(torch.tensor([[[[3.0, 4.0]]]]))), 3)
    3.536
    """

    def __init__(self, p: Annotated[float, Ge(1)] = 3.0, eps: Annotated[float, Ge(0)] = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(self.eps).pow(self.p).mean((2, 3)).pow(1 / self.p)
