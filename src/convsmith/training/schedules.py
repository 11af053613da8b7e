"""Learning-rate schedules as pure functions of time, without state to save or resume.

A schedule is called with (epoch, epochs), where the epoch counts in fractions from 0, and gives the
factor by which every group's initial rate is multiplied.
"""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le

from convsmith.catalog import technique

Epochs = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]


def warmed(epoch: float, warmup: float) -> float:
    """Linear rise from near 0 to 1 over the first ``warmup`` epochs (Goyal et al. 2017).

    >>> warmed(1.0, 2.0)
    0.5
    """
    return min(1.0, max(epoch, 1e-3) / warmup) if warmup else 1.0


def _passed(epoch: float, epochs: float, warmup: float) -> float:
    """Share of the time after the warm-up that has passed, in [0, 1]."""
    return min(1.0, max(0.0, epoch - warmup) / max(epochs - warmup, 1e-9))


@technique(
    "schedule",
    "constant",
    source="LeCun et al. 1998, Efficient BackProp",
    chapter="10 网络训练 training",
    use="to see what the rate itself does",
)
class Constant:
    """1 after the warm-up.

    >>> Constant()(3.0, 10)
    1.0
    """

    def __init__(self, warmup: Epochs = 0.0) -> None:
        self.warmup = warmup

    def __call__(self, epoch: float, epochs: float) -> float:
        return warmed(epoch, self.warmup)


@technique(
    "schedule",
    "step",
    source="Krizhevsky et al. 2012; He et al. 2016",
    chapter="10 网络训练 training",
    use="the papers' schedule",
)
class Step:
    """gamma^k, where k of the milestones have passed.

    Args:
        milestones: shares of the training in (0, 1]; He et al. drop at 1/2 and 3/4.
        gamma: factor of each drop.
        warmup: epochs.

    >>> [round(Step()(epoch, 100), 3) for epoch in (0, 49, 50, 75)]
    [1.0, 1.0, 0.1, 0.01]
    """

    def __init__(
        self,
        milestones: tuple[Share, ...] = (0.5, 0.75),
        gamma: Annotated[float, Gt(0)] = 0.1,
        warmup: Epochs = 0.0,
    ) -> None:
        self.milestones = milestones
        self.gamma = gamma
        self.warmup = warmup

    def __call__(self, epoch: float, epochs: float) -> float:
        passed = sum(epoch >= milestone * epochs for milestone in self.milestones)
        return warmed(epoch, self.warmup) * self.gamma**passed


@technique(
    "schedule",
    "cosine",
    source="Loshchilov & Hutter 2017, without restarts",
    chapter="10 网络训练 training",
    use="the default",
)
class Cosine:
    """(1 + cos(pi t)) / 2, with t the share of the time after the warm-up.

    Args:
        warmup: epochs of linear rise.
        final: the factor at the end, in [0, 1].

    >>> [round(Cosine()(epoch, 10), 3) for epoch in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """

    def __init__(self, warmup: Epochs = 0.0, final: Annotated[float, Ge(0), Le(1)] = 0.0) -> None:
        self.warmup = warmup
        self.final = final

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch < self.warmup:
            return warmed(epoch, self.warmup)
        passed = _passed(epoch, epochs, self.warmup)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * passed)) / 2


@technique(
    "schedule",
    "exponential",
    source="Bengio 2012, Practical recommendations",
    chapter="10 网络训练 training",
    use="a steady decay without milestones",
)
class Exponential:
    """final^t, with t the share of the time after the warm-up: each epoch multiplies the rate by one factor.

    Args:
        final: the factor at the end, in (0, 1].
        warmup: epochs of linear rise.

    >>> [round(Exponential(final=0.01)(epoch, 10), 3) for epoch in (0, 5, 10)]
    [1.0, 0.1, 0.01]
    """

    def __init__(self, final: Share = 0.01, warmup: Epochs = 0.0) -> None:
        self.final = final
        self.warmup = warmup

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch < self.warmup:
            return warmed(epoch, self.warmup)
        return float(self.final ** _passed(epoch, epochs, self.warmup))


@technique(
    "schedule",
    "inverse_time",
    source="Robbins & Monro 1951; Bottou 2012",
    chapter="10 网络训练 training",
    use="convex problems: the decay under which stochastic gradients provably converge",
)
class InverseTime:
    """1 / (1 + k t), with t the share of the time after the warm-up.

    Args:
        k: strength of the decay; the factor at the end is 1 / (1 + k).
        warmup: epochs of linear rise.

    >>> [round(InverseTime(k=9)(epoch, 10), 3) for epoch in (0, 5, 10)]
    [1.0, 0.182, 0.1]
    """

    def __init__(self, k: Annotated[float, Ge(0)] = 99.0, warmup: Epochs = 0.0) -> None:
        self.k = k
        self.warmup = warmup

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch < self.warmup:
            return warmed(epoch, self.warmup)
        return 1 / (1 + self.k * _passed(epoch, epochs, self.warmup))


@technique(
    "schedule",
    "cyclic_cosine",
    source="Huang et al. 2017, Snapshot ensembles, equation 2",
    chapter="10 网络训练 training",
    use="snapshots: the net converges once a cycle",
)
class CyclicCosine:
    """(1 + cos(pi t)) / 2, with t the share of the current of ``cycles`` equal cycles after the warm-up.

    Args:
        cycles: M.
        warmup: epochs of linear rise, before the first cycle only.

    >>> [round(CyclicCosine(cycles=2)(epoch, 20), 3) for epoch in (0, 5, 9.999, 10, 15)]
    [1.0, 0.5, 0.0, 1.0, 0.5]
    """

    def __init__(self, cycles: Annotated[int, Ge(1)] = 5, warmup: Epochs = 0.0) -> None:
        self.cycles = cycles
        self.warmup = warmup

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch < self.warmup:
            return warmed(epoch, self.warmup)
        passed = _passed(epoch, epochs, self.warmup) * self.cycles
        # At the end of the training the last cycle is complete; no further cycle starts.
        inside = passed % 1 if passed < self.cycles else 1.0
        return (1 + math.cos(math.pi * inside)) / 2
