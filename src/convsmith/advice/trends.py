"""Whether a curve falls, rises or stays, beyond its own noise; curves are of errors, lower is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean as mean

# How many standard errors a rise must have, since its beginning is the best of many epochs.
SURE = 4.0
# Share by which an error must have risen for it to matter.
RISE = 0.05
# Measures of which more is better; the others are errors themselves.
SHARES = ("accuracy",)


def errors(rows: Sequence[Mapping[str, float]], split: str) -> list[float]:
    """The error of a split by epoch: 1 - accuracy, mean absolute error or KL divergence; else the loss.

    Args:
        rows: of metrics.csv.
        split: train or val.

    >>> errors([{"val_loss": 3.0, "val_accuracy": 0.75}], "val"), errors([{"val_loss": 3.0}], "val")
    ([0.25], [3.0])
    """
    for name in ("accuracy", "mae", "kl", "loss"):
        key = f"{split}_{name}"
        if rows and key in rows[0]:
            return [1 - row[key] if name in SHARES else row[key] for row in rows]
    return []


def noise(values: Sequence[float]) -> float:
    """Standard deviation of a curve about its own course, from its second differences; 0 for less than 3
    values.

    A straight line has none; independent values of deviation s have s, since the variance of
    a - 2b + c is 6 s^2.

    >>> noise([3.0, 2.0, 1.0, 0.0]), round(noise([0.0, 1.0] * 50), 2)
    (0.0, 0.82)
    """
    bends = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:])]
    return math.sqrt(mean(bend**2 for bend in bends) / 6) if bends else 0.0


@dataclass(frozen=True)
class Rise:
    """An error that has risen: its least value and the epoch of it, from 0, and its last values' mean."""

    best: float
    epoch: int
    end: float


def risen(values: Sequence[float], images: int = 0, last: int = 5, share: float = RISE) -> Rise | None:
    """How far an error's end lies above its best; None if it doesn't, beyond noise.

    The mean of the last values is compared with the lowest mean of three before them. The difference must be
    ``share`` of it, and :data:`SURE` standard errors: of the curve's own noise and, for shares of images, of
    what so many images can tell.

    Args:
        values: of an error, by epoch.
        images: that a share of errors was measured on; 0 if it is none.
        last: number of values at the end.
        share: of the error by which it must have risen.

    >>> risen([0.5, 0.3, 0.2, 0.2, 0.2, 0.3, 0.35, 0.4, 0.4, 0.4])
    Rise(best=0.2, epoch=2, end=0.37)
    >>> risen([0.5, 0.3, 0.2, 0.2, 0.2, 0.3, 0.35, 0.4, 0.4, 0.4], images=50)
    """
    early = values[:-last]
    if len(early) < 3:
        return None
    best = min(mean(early[n : n + 3]) for n in range(len(early) - 2))
    end = mean(values[-last:])
    error = noise(values) * math.sqrt(1 / 3 + 1 / last)
    if images:
        # The same images are asked in both epochs: those on which the two differ count, at most both errors.
        error = math.hypot(error, math.sqrt(max(0.0, end * (1 - end)) / images))
    if end - best < max(SURE * error, share * best) or end <= best:
        return None
    least = min(range(len(early)), key=lambda n: early[n])
    return Rise(early[least], least, end)


def flat(values: Sequence[float], window: int, gain: float, least: float = 0.001) -> bool:
    """Whether the last ``window`` values lie no lower than those before them, within noise.

    A fall counts if it is ``gain`` of the level, or two standard errors of the curve's noise, or a thousandth
    where there is none: a curve that falls slowly but steadily isn't flat.

    >>> flat([1.0] * 8, 4, 0.02), flat([0.99**n for n in range(8)], 4, 0.02)
    (True, False)
    """
    here = values[-2 * window :]
    if len(here) < 2 * window:
        return False
    before, after = mean(here[:window]), mean(here[window:])
    if not before > 0:
        return False
    worth = 2 * noise(here) * math.sqrt(2 / window) / before
    return before - after < min(gain, max(least, worth)) * before
