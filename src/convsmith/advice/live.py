"""Rules for a training that is still going on, as functions of its history alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = Mapping[str, float]
# Epochs compared with as many before them, and the share by which their loss must fall not to be flat.
WINDOW, GAIN = 4, 0.02
# Epochs without a better validation loss, and the factor by which it must have risen, for over-fitting.
WORSE, RISE = 5, 1.1


def exploded(first: float, loss: float) -> bool:
    """Whether a loss within the first batches says that the rate is far too high.

    >>> exploded(2.3, 2.6), exploded(2.3, 30.0), exploded(2.3, float("nan"))
    (False, True, True)
    """
    return not loss <= 3 * max(first, 1.0)


def decays(rows: Sequence[Row], most: int = 3) -> int:
    """Number of times that the training loss was flat, at each of which the rate is to be lowered.

    Flat means that the loss falls by less than 2% from four epochs to the next four, all at one rate.

    Args:
        rows: of metrics.csv.
        most: largest number to return.

    >>> [decays([{"train_loss": 1.0}] * epochs) for epochs in (7, 8, 80)]
    [0, 1, 3]
    """
    count = begin = 0
    losses = [row["train_loss"] for row in rows]
    for end in range(1, len(losses) + 1):
        here = losses[begin:end]
        if count == most or len(here) < 2 * WINDOW:
            continue
        before, after = (sum(part) / WINDOW for part in (here[-2 * WINDOW : -WINDOW], here[-WINDOW:]))
        if after > (1 - GAIN) * before:
            count, begin = count + 1, end
    return count


def overfits(rows: Sequence[Row]) -> str | None:
    """Reason to stop, if the validation loss rises while the training loss falls; else None.

    >>> rows = [{"train_loss": 1 / n, "val_loss": abs(n - 3) + 1.0} for n in range(1, 12)]
    >>> overfits(rows)
    'over-fitting: the validation loss rose from 1 in epoch 3 to 9, the training loss fell'
    """
    losses = [row["val_loss"] for row in rows]
    best = losses.index(min(losses)) if losses else 0
    if len(rows) - 1 - best < WORSE:
        return None
    worse = min(losses[-WORSE:]) > RISE * losses[best]
    better = rows[-1]["train_loss"] < rows[best]["train_loss"]
    if not (worse and better):
        return None
    return (
        f"over-fitting: the validation loss rose from {losses[best]:.3g} in epoch {best + 1} to "
        f"{losses[-1]:.3g}, the training loss fell"
    )
