"""Normalization by name; ``channels`` is the number of maps (N, C, H, W) or units (N, C) it acts on."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import cast, wide, without_autocast


@technique(
    "norm",
    "none",
    source="the absence of one",
    chapter="1 基本部件 layers",
    use="nets from before batch normalization",
)
def no_norm() -> nn.Module:
    """Values as they are."""
    return nn.Identity()


@technique(
    "norm",
    "batch",
    source="Ioffe & Szegedy 2015",
    chapter="1 基本部件 layers",
    use="the default of deep nets: quicker, steadier training; batches of 16 and more",
)
def batch_norm(
    channels: int, momentum: Annotated[float, Gt(0)] = 0.1, eps: Annotated[float, Gt(0)] = 1e-5
) -> nn.Module:
    """gamma * (x - mean) / sqrt(variance + eps) + beta by channel, over the batch and all places."""
    return nn.BatchNorm2d(channels, eps, momentum)


@technique(
    "norm",
    "group",
    source="Wu & He 2018",
    chapter="1 基本部件 layers",
    use="small batches: statistics of one image",
)
def group_norm(
    channels: int, groups: Annotated[int, Ge(1)] = 32, eps: Annotated[float, Gt(0)] = 1e-5
) -> nn.Module:
    """(x - mean) / sqrt(variance + eps) over groups of channels of one image, with gamma and beta.

    Where ``groups`` doesn't divide the channels, their greatest common divisor is taken.
    """
    return nn.GroupNorm(math.gcd(groups, channels), channels, eps)


@technique(
    "norm",
    "layer",
    source="Ba et al. 2016",
    chapter="1 基本部件 layers",
    use="batches of one image",
)
def layer_norm(channels: int, eps: Annotated[float, Gt(0)] = 1e-5) -> nn.Module:
    """(x - mean) / sqrt(variance + eps) over all channels and places of one image, with gamma and beta."""
    return nn.GroupNorm(1, channels, eps)


@technique(
    "norm",
    "instance",
    source="Ulyanov et al. 2016",
    chapter="1 基本部件 layers",
    use="contrast and style shall not matter",
)
def instance_norm(channels: int, eps: Annotated[float, Gt(0)] = 1e-5) -> nn.Module:
    """(x - mean) / sqrt(variance + eps) over the places of one channel of one image, with gamma and beta."""
    return nn.GroupNorm(channels, channels, eps)


@technique(
    "norm",
    "local_response",
    source="Krizhevsky et al. 2012, section 3.3",
    chapter="1 基本部件 layers",
    use="AlexNet; after the activation",
)
class LocalResponseNorm(nn.Module):
    """x / (k + alpha * sum of x^2 over the ``size`` channels around)^beta, the paper's formula and values.

    torch and Caffe divide ``alpha`` by ``size``; here it is the paper's own. The sum is a convolution with a
    band of ones: a quarter of the time of torch's layer on a CPU (benchmarks/blocks.py). In half precision it
    is computed in float32: squares of values above 255 exceed float16. With k = 0, zeros stay 0.

    >>> layer = LocalResponseNorm(2, size=3, alpha=1.0, beta=0.5, k=0.0)
    >>> layer(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).flatten().tolist()
    [0.6..., 0.8...]
    """

    band: Tensor

    def __init__(
        self,
        channels: int,
        size: Annotated[int, Ge(1)] = 5,
        alpha: Annotated[float, Ge(0)] = 1e-4,
        beta: Annotated[float, Gt(0)] = 0.75,
        k: Annotated[float, Ge(0)] = 2.0,
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        ahead = torch.arange(channels) - torch.arange(channels)[:, None]
        band = (ahead >= -(size // 2)) & (ahead <= (size - 1) // 2)
        self.register_buffer("band", band.float()[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        band = self.band
        if x.shape[1] < len(band):
            # Channels were removed: torch-pruning takes this convolution for an elementwise operation, since
            # no module holds it. A leading block of a band matrix is the band matrix of fewer channels.
            band = band[: x.shape[1], : x.shape[1]]
        exact = wide(x)
        with without_autocast(x.device):
            energy = self.k + F.conv2d(exact * exact, cast(band, exact.dtype) * self.alpha)
        if self.k == 0:
            # 0 / 0, and a slope without a bound around it: no energy, no response
            energy = torch.where(energy > 0, energy, torch.inf)
        return cast(exact * energy.pow(-self.beta), x.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


@technique(
    "norm",
    "l2",
    source="Liu et al. 2016, ParseNet: LRN over all channels with k = 0, alpha = 1, beta = 1/2",
    chapter="1 基本部件 layers",
    use="only the direction of the features counts",
)
class L2Norm(nn.Module):
    """x / ||x||_2 over the channels of each place, times one learned scale a channel.

    A vector no longer than ``eps`` has no direction: it becomes 0, and gets no gradient. Computed in at
    least float32.

    >>> import torch
    >>> L2Norm(2, scale=10.0)(torch.tensor([[3.0, 4.0]])).tolist()
    [[6.0, 8.0]]
    """

    def __init__(
        self, channels: int, scale: Annotated[float, Gt(0)] = 1.0, eps: Annotated[float, Gt(0)] = 1e-12
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        exact = wide(x)
        length = torch.linalg.vector_norm(exact, dim=1, keepdim=True)
        length = torch.where(length > self.eps, length, torch.inf)
        return cast(exact / length * self.weight.view(-1, *[1] * (x.ndim - 2)), x.dtype)


@technique(
    "neck",
    "none",
    source="the absence of one",
    chapter="1 基本部件 layers",
    use="the default: features go to the classifier as they are",
)
def no_neck() -> nn.Module:
    """Features as they are."""
    return nn.Identity()


@technique(
    "neck",
    "feature_norm",
    source="the notes' FN; Hasnat et al. 2017; the BNNeck of Luo et al. 2019",
    chapter="1 基本部件 layers",
    use="features are compared (faces, retrieval), with center or large-margin losses",
)
def feature_norm(
    channels: int, momentum: Annotated[float, Gt(0)] = 0.1, eps: Annotated[float, Gt(0)] = 1e-5
) -> nn.Module:
    """Batch normalization of the last features (N, D), without gamma and beta, before the classifier."""
    return nn.BatchNorm1d(channels, eps, momentum, affine=False)
