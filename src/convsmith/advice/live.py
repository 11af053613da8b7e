"""Rules for a training that is still going on, as functions of its history alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import fmean

from convsmith.advice.trends import errors, flat, risen

Row = Mapping[str, float]
# Fewest epochs that are compared with as many before them, and the share by which their loss must fall not to
# be flat, whatever the noise.
WINDOW, GAIN = 4, 0.02
# Epochs at the end whose error is compared with the best before, and the factor by which it must have risen.
WORSE, RISE = 5, 1.1


def exploded(first: float, loss: float, chance: float = 1.0) -> bool:
    """Whether a loss within the first batches says that the rate is far too high.

    Args:
        first: loss before any update.
        loss: now.
        chance: loss of guessing, which any net may come back to; 0 if it isn't known.

    >>> exploded(2.3, 2.6), exploded(2.3, 30.0), exploded(2.3, float("nan"))
    (False, True, True)
    """
    return not loss <= 3 * max(first, chance)


class Plateaus:
    """Counts how often a training was flat, at each of which the rate is to be lowered.

    Flat means that the training loss falls no further, within its noise: over four epochs or a third of those
    at one rate, whichever is more, since a loss falls ever more slowly at any rate. While the schedule is
    still
    going to lower the rate by itself, nothing is.

    Args:
        ahead: the schedule's factor in each epoch of the whole training; empty if it is constant.
        most: largest number to count to.
    """

    def __init__(self, ahead: Sequence[float] = (), most: int = 3) -> None:
        lowest = list(accumulate(reversed(ahead), min))[::-1]
        self.falls = [later < 0.5 * now for now, later in zip(ahead, lowest)]
        self.most = most
        self.count = self.begin = 0
        self.losses: list[float] = []

    def add(self, loss: float) -> int:
        """Take the next epoch's loss; give the number so far."""
        self.losses.append(loss)
        end = len(self.losses)
        window = max(WINDOW, (end - self.begin) // 3)
        if end <= len(self.falls) and self.falls[end - 1]:
            self.begin = end
        elif self.count < self.most and flat(self.losses[self.begin : end], window, GAIN):
            self.count, self.begin = self.count + 1, end
        return self.count


def decays(
    rows: Sequence[Row], most: int = 3, *, comparable: bool = True, ahead: Sequence[float] = ()
) -> int:
    """Number of times that a training was flat, see :class:`Plateaus`.

    Args:
        rows: of metrics.csv.
        most: largest number to return.
        comparable: whether losses can be compared between epochs; else the training error is looked at.
        ahead: the schedule's factor in each epoch of the whole training; empty if it is constant.

    >>> [decays([{"train_loss": 1.0}] * epochs) for epochs in (7, 8, 80)]
    [0, 1, 3]
    >>> decays([{"train_loss": 1.0}] * 80, ahead=[1 - epoch / 80 for epoch in range(80)])
    0
    """
    plateaus = Plateaus(ahead, most)
    for loss in losses(rows, comparable):
        plateaus.add(loss)
    return plateaus.count


def losses(rows: Sequence[Row], comparable: bool) -> list[float]:
    """The training loss of each epoch where epochs can be compared by it, else the training error."""
    return [row["train_loss"] for row in rows] if comparable else errors(rows, "train")


def overfits(rows: Sequence[Row], images: int = 0, *, by_loss: bool = False) -> str | None:
    """Reason to stop, if the validation error rises clearly while the training's falls; else None.

    The error is 1 - accuracy, the mean absolute error or the KL divergence, as in the rule of the study
    notes, chapter 9; the loss only where a history has none of these. A loss that rises beside an error that
    stays is a reason too, but not while the rate is still going to fall: then the error falls once more as a
    rule.

    Args:
        rows: of metrics.csv.
        images: number of validation images; 0 if it isn't known.
        by_loss: whether the loss counts: it can be compared between epochs, and the rate stays.

    >>> rows = [{"train_loss": 1 / n, "val_loss": abs(n - 3) + 1.0} for n in range(1, 12)]
    >>> overfits(rows)
    'over-fitting: the validation error rose from 1 in epoch 3 to 7, the training error fell'
    """
    val, train = errors(rows, "val"), errors(rows, "train")
    # What so many images can tell is known for shares of them alone.
    share = bool(rows) and "val_accuracy" in rows[0]
    rise, what = risen(val, images if share else 0, WORSE, RISE - 1), "error"
    if rise is None and by_loss:
        rise, what = risen([row["val_loss"] for row in rows], 0, WORSE, RISE - 1), "loss"
        if rise is not None and _better(val, rise.epoch, images if share else 0):
            return None
    if rise is None or not train[-1] < train[rise.epoch]:
        return None
    return (
        f"over-fitting: the validation {what} rose from {rise.best:.3g} in epoch {rise.epoch + 1} to "
        f"{rise.end:.3g}, the training error fell"
    )


def _better(error: Sequence[float], epoch: int, images: int) -> bool:
    """Whether the last errors lie below those around ``epoch`` by more than so many images can tell."""
    before, after = fmean(error[max(0, epoch - 1) : epoch + 2]), fmean(error[-WORSE:])
    noise = 2 * math.sqrt(max(0.0, before * (1 - before)) / images) if images else 0.0
    return after < before - noise
