"""Margin losses: the hinge of support vector machines, and the ramp that gives outliers up."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Lt
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.precision import wide
from convsmith.objectives.mean import mean


def margins(input: Tensor, target: Tensor) -> Tensor:
    """z = score of the true class minus the largest other score, (N, K) and (N,) to (N,).

    >>> import torch
    >>> margins(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """
    own = input.gather(1, target[:, None])
    others = input.scatter(1, target[:, None], float("-inf"))
    return own.squeeze(1) - others.amax(1)


def hinge(z: Tensor, s: float = 1.0) -> Tensor:
    """max(0, s - z).

    >>> import torch
    >>> hinge(torch.tensor([0.25, 2.0]))
    tensor([0.7500, 0.0000])
    """
    return (s - z).clamp_min(0)


def ramp(z: Tensor, s: float) -> Tensor:
    """hinge(z, 1) - hinge(z, s) = min(1 - s, max(0, 1 - z)): flat below s.

    >>> import torch
    >>> ramp(torch.tensor([-100.0, 0.5]), s=0.0)
    tensor([1.0000, 0.5000])
    """
    return hinge(z, 1.0) - hinge(z, s)


@technique(
    "term",
    "hinge",
    source="Crammer & Singer 2001; squared: Tang 2013",
    chapter="8 目标函数 objectives",
    use="margins instead of probabilities; a little worse than cross-entropy, and hurt by outliers",
)
class Hinge(nn.Module):
    """Mean over images of max(0, margin - z), z = score of the true class minus the largest other score.

    Args:
        margin: > 0.
        squared: of the square instead, which has a slope that vanishes at the margin.

    >>> import torch
    >>> Hinge()(torch.tensor([[2.0, 1.5]]), torch.tensor([0]))
    tensor(0.5000)
    """

    targets = ("classes",)

    def __init__(self, margin: Annotated[float, Gt(0)] = 1.0, squared: bool = False) -> None:
        super().__init__()
        self.margin = margin
        self.squared = squared

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        losses = hinge(margins(wide(input), target), self.margin)
        return mean(losses.square() if self.squared else losses)


@technique(
    "term",
    "ramp",
    source="Wu & Liu 2007, Robust truncated hinge loss support vector machines",
    chapter="8 目标函数 objectives",
    use="wrong labels or outliers; not convex, so start from a net trained with another objective",
)
class Ramp(nn.Module):
    """Mean over images of hinge(z, 1) - hinge(z, s): the hinge, truncated where z < s.

    Images further on the wrong side than s give no gradient any more.

    Args:
        s: < 1; None is -1 / (K - 1), what the authors recommend for K classes.

    >>> import torch
    >>> Ramp(s=-1.0)(torch.tensor([[0.0, 9.0]]), torch.tensor([0]))
    tensor(2.)
    """

    targets = ("classes",)

    def __init__(self, s: Annotated[float, Lt(1)] | None = None) -> None:
        super().__init__()
        self.s = s

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        s = -1 / (input.shape[1] - 1) if self.s is None else self.s
        return mean(ramp(margins(wide(input), target), s))
