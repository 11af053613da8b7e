"""Global pooling by name: each map becomes one number, (N, C, H, W) to (N, C)."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import cast, wide

# Leaves for symbolic tracing: they look at the type of what they get.
torch.fx.wrap("cast")
torch.fx.wrap("wide")


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

    Values are divided by the map's largest first, so that no p overflows or loses small values. A parameter
    that falls below 1 stands for 2 - p, so that the exponent turns back at the mean. Computed in at least
    float32.

    >>> round(float(GeneralizedMean(p=2.0)(torch.tensor([[[[3.0, 4.0]]]]))), 3)
    3.536
    """

    def __init__(self, p: Annotated[float, Ge(1)] = 3.0, eps: Annotated[float, Ge(0)] = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        p = wide(self.p)
        p = torch.where(p < 1, 2 - p, p)
        exact = wide(x).clamp_min(self.eps)
        # The result doesn't depend on the scale, so neither does the gradient.
        top = exact.detach().amax((2, 3), keepdim=True)
        mean = (exact / torch.where(top > 0, top, 1)).pow(p).mean((2, 3))
        # At least 1/n, the largest value's own part; where all is 0 the root would have no slope.
        least = 0.5 / (x.shape[2] * x.shape[3])
        return cast(top.squeeze((2, 3)) * mean.clamp_min(least).pow(1 / p), x.dtype)
