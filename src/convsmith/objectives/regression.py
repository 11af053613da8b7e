"""Losses for targets that are numbers, (N, T) against (N, T)."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean

# The median absolute deviation of a Gaussian times this is its standard deviation.
MAD_TO_STD = 1.4826


@technique(
    "term",
    "squared_error",
    source="Legendre 1805; Gauss 1809",
    chapter="8 目标函数 objectives",
    use="the default for regression: errors are Gaussian",
)
class SquaredError(nn.Module):
    """Mean of (input - target)^2, the l2 loss.

    >>> SquaredError()(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    tensor(4.)
    """

    targets = ("numbers",)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mean((wide(input) - target).square())


@technique(
    "term",
    "absolute_error",
    source="Boscovich 1757; Laplace 1793",
    chapter="8 目标函数 objectives",
    use="regression with outliers: the median instead of the mean",
)
class AbsoluteError(nn.Module):
    """Mean of |input - target|, the l1 loss.

    >>> AbsoluteError()(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    tensor(2.)
    """

    targets = ("numbers",)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mean((wide(input) - target).abs())


def biweight(residual: Tensor, c: float) -> Tensor:
    """c^2 / 6 * (1 - (1 - (r / c)^2)^3) for |r| <= c, c^2 / 6 beyond: flat, without gradient.

    >>> biweight(torch.tensor([0.0, 1.0, 100.0]), c=1.0)
    tensor([0.0000, 0.1667, 0.1667])
    """
    inside = 1 - (residual / c).square().clamp_max(1)
    return (c * c / 6) * (1 - inside**3)


@technique(
    "term",
    "tukey",
    source="Beaton & Tukey 1974; Belagiannis et al. 2015, Robust optimization for deep regression",
    chapter="8 目标函数 objectives",
    use="regression with gross outliers, which it leaves out altogether",
)
class Tukey(nn.Module):
    """Mean of Tukey's biweight of the residuals over 1.4826 times their median absolute deviation.

    The deviation is that of the batch, for each output apart; no gradient passes through it. So the value
    says
    nothing of how large the residuals are, and can't be compared between epochs.

    Args:
        c: residuals, in standard deviations, from which on an image counts as an outlier; 4.685 keeps 95%
            of the squared error's efficiency on Gaussian errors.

    >>> round(Tukey()(torch.tensor([[0.0], [1.0], [2.0]]), torch.zeros(3, 1)).item(), 3)
    0.353
    """

    targets = ("numbers",)
    comparable = ()

    def __init__(self, c: Annotated[float, Gt(0)] = 4.685) -> None:
        super().__init__()
        self.c = c

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if not len(input):  # no images, no median
            return mean(input)
        residual = wide(input) - target
        with torch.no_grad():
            middle = residual.median(0).values
            deviation = MAD_TO_STD * (residual - middle).abs().median(0).values
            # A batch of one image has no deviation.
            deviation = torch.where(deviation > 1e-6, deviation, 1)
        return biweight(residual / deviation, self.c).mean()
