"""The learning rate that a sweep proposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Width of the Gaussian by which losses are smoothed, as a share of the sweep's steps.
WIDTH = 0.03
# A net trains well at the rate where the smoothed loss turns, divided by this.
SAFETY = 3.0
# A fall must be this many standard errors of the smoothed loss, since its end is the least of many, and
# this share
# of the first losses.
SURE, FALL = 7.0, 0.02


@dataclass(frozen=True)
class Sweep:
    """Rates of a sweep, the loss at each, and the smoothed losses."""

    rates: list[float]
    losses: list[float]
    smooth: list[float]

    @property
    def turn(self) -> int:
        """Step with the smallest smoothed loss."""
        return int(np.argmin(self.smooth))

    @property
    def minimum(self) -> float:
        """Rate with the smallest smoothed loss."""
        return self.rates[self.turn]

    @property
    def steepest(self) -> float:
        """Rate below the minimum at which the smoothed loss falls fastest over the rate's logarithm."""
        end = self.turn
        if end < 2:
            return self.rates[0]
        slopes = np.gradient(self.smooth[: end + 1], np.log(self.rates[: end + 1]))
        # The first steps are few for a mean, and far below any rate that moves a net.
        first = min(len(self.rates) // 10, end - 1)
        return self.rates[first + int(np.argmin(slopes[first:]))]

    @property
    def proposal(self) -> float:
        """Proposed rate: a third of the one at which the loss turns, rounded to one digit."""
        return _one_digit(self.minimum / SAFETY)

    @property
    def error(self) -> float:
        """Standard error of a smoothed loss, by the losses' second differences before it turns."""
        losses = np.array(self.losses[: max(5, self.turn)])
        spread = math.sqrt(float(np.mean(np.diff(losses, 2) ** 2)) / 6) if len(losses) > 2 else 0.0
        # The weights of a Gaussian of width s add up to those of 2 sqrt(pi) s equal ones.
        return spread / math.sqrt(2 * math.sqrt(math.pi) * _width(len(self.rates)))

    @property
    def unclear(self) -> str | None:
        """Why the sweep proposes no rate: a sentence with its remedy; None if it does."""
        first = float(np.mean(self.losses[: max(3, len(self.rates) // 10)]))
        least, last, clear = (
            self.smooth[self.turn],
            self.smooth[-1],
            max(SURE * self.error, FALL * abs(first)),
        )
        low, high = self.rates[0], self.rates[-1]
        lowered = f"sweep from a lower rate: `low={low / 100:g}`"
        if self.turn < 0.1 * len(self.rates) and last - first > clear:
            return f"the loss rises from the first rate on, {low:g}; {lowered}"
        if not first - least > clear:
            return (
                f"at no rate from {low:g} to {high:g} the loss falls clearly below the {first:.3g} that "
                f"it begins with, for its noise of {self.error:.2g}; take more `steps`, larger batches "
                f"(`data.batch_size=256`), or another net"
            )
        if not last - least > 2 * self.error or self.turn >= len(self.rates) - 2:
            return f"the loss still falls at the last rate, {high:g}; sweep further: `high={100 * high:g}`"
        if self.minimum / SAFETY <= low * 1.01:
            return f"the loss turns at {self.minimum:g}, next to the first rate; {lowered}"
        return None


def sweep(rates: Sequence[float], losses: Sequence[float]) -> Sweep:
    """A sweep whose losses are smoothed by a Gaussian around each step.

    A mean over the past alone would lag behind by half a power of ten.

    >>> losses = [2.3] * 20 + [2.3 - 0.1 * n for n in range(15)] + [1.0, 2.0, 5.0]
    >>> rates = [1e-5 * 1.4**n for n in range(len(losses))]
    >>> found = sweep(rates, losses); found.proposal, found.unclear
    (0.2, None)
    """
    return Sweep(list(rates), list(losses), centered(losses).tolist())


def _width(steps: int) -> float:
    return max(1.0, WIDTH * steps)


def centered(losses: Sequence[float]) -> npt.NDArray[np.float64]:
    """Means with weights exp(-(i - j)^2 / 2 s^2), s = 3% of the steps, at least one step.

    Losses above four times the median of the first ones are cut off there: one explosion says no more.

    >>> centered([2.0, 2.0, 2.0]).tolist()
    [2.0, 2.0, 2.0]
    """
    values = np.array(losses, dtype=float)
    first = np.median(values[: max(1, len(values) // 10)])
    values = np.minimum(values, np.maximum(4 * abs(first), 1e-12))
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places) / _width(len(values))) ** 2)
    means: npt.NDArray[np.float64] = (weights @ values) / weights.sum(1)
    return means


def smoothed(losses: Sequence[float], beta: float = 0.9) -> npt.NDArray[np.float64]:
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
