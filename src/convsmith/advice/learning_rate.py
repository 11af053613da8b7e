"""The learning rate that a sweep proposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Weight of the past in the running mean of the losses.
SMOOTHING = 0.9


@dataclass(frozen=True)
class Sweep:
    """Rates of a sweep, the loss at each, and the smoothed losses."""

    rates: list[float]
    losses: list[float]
    smooth: list[float]

    @property
    def minimum(self) -> float:
        """Rate with the smallest smoothed loss."""
        return self.rates[int(np.argmin(self.smooth))]

    @property
    def steepest(self) -> float:
        """Rate below the minimum at which the smoothed loss falls fastest over the rate's logarithm."""
        end = int(np.argmin(self.smooth))
        if end < 2:
            return self.rates[0]
        slopes = np.gradient(self.smooth[: end + 1], np.log(self.rates[: end + 1]))
        return self.rates[int(np.argmin(slopes))]

    @property
    def proposal(self) -> float:
        """Proposed rate: the steepest, but at most a tenth of the minimum's, rounded to one digit."""
        return _one_digit(min(self.steepest, self.minimum / 10))


def sweep(rates: Sequence[float], losses: Sequence[float]) -> Sweep:
    """A sweep whose losses are smoothed by a running mean, unbiased at its start.

    >>> losses = [2.3] * 20 + [2.3 - 0.1 * n for n in range(15)] + [1.0, 2.0, 5.0]
    >>> rates = [1e-5 * 1.4**n for n in range(len(losses))]
    >>> sweep(rates, losses).proposal
    0.1
    """
    return Sweep(list(rates), list(losses), smoothed(losses).tolist())


def smoothed(losses: Sequence[float], beta: float = SMOOTHING) -> npt.NDArray[np.float64]:
    """m <- beta m + (1 - beta) loss, divided by 1 - beta^t (Kingma & Ba 2015, section 3).

    >>> smoothed([2.0, 2.0, 2.0]).tolist()
    [2.0, 2.0, 2.0]
    """
    found, mean = [], 0.0
    for step, loss in enumerate(losses, start=1):
        mean = beta * mean + (1 - beta) * loss
        found.append(mean / (1 - beta**step))
    return np.array(found)


def _one_digit(value: float) -> float:
    power = math.floor(math.log10(value))
    return float(f"{round(value / 10**power)}e{power}")
