"""Rules about the learning rate."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

from convsmith.advice.evidence import Evidence
from convsmith.advice.remedies import rate, right, stuck, uneven
from convsmith.findings import Finding

NOTES = "study notes, chapter 10, on learning rates"


def rate_too_high(e: Evidence) -> Finding | None:
    """The loss explodes, or nothing is learned until the rate has fallen."""
    seen = _explosion(e) or _late_start(e)
    if seen is None:
        return None
    return Finding(
        name="rate_too_high",
        seen=f"{seen}; the rate is {e.rate:g}",
        means="the steps jump over what they should descend into",
        change=f"start again with a tenth of the rate: {rate(e, e.rate / 10)}",
        why="a loss that rises within the first batches says that the rate is far too high",
        source=NOTES,
        set=(rate(e, e.rate / 10),),
        epochs=(1, max(1, len(e.rows) // 2)),
    )


def _explosion(e: Evidence) -> str | None:
    if e.diverged is not None:
        return f"the loss leaves all bounds in epoch {e.diverged[0]}, batch {e.diverged[1]}"
    worst = max((loss for _, _, loss in e.steps), default=0.0)
    # A jump did no harm if the training has come back from it.
    if worst > 3 * max(e.first, e.chance) and not (e.rows and e.rows[-1]["train_loss"] < 0.7 * e.chance):
        return f"the loss rises from {e.first:.3g} to {worst:.3g}"
    if stuck(e) and e.path > 3:
        return f"the loss stays at {min(e.column('train_loss')):.3g}, that of guessing"
    if e.last("predicted", "answers") > 0.95 and not uneven(e) and e.path > 3:
        return f"{100 * e.last('predicted', 'answers'):.0f}% of the answers are one class"
    return None


def _late_start(e: Evidence) -> str | None:
    losses = e.column("train_loss") if e.rows else []
    if len(losses) < 6 or not e.decays:
        return None
    start, half, end = e.chance, losses[len(losses) // 2 - 1], losses[-1]
    if end > 0.7 * e.chance or start - half > 0.55 * (start - end):
        return None
    return (
        f"the loss falls by {start - half:.2g} in the first half, and by {half - end:.2g} in the second, as "
        f"the rate falls"
    )


def rate_too_low(e: Evidence) -> Finding | None:
    """The loss falls slowly all along; all updates together move the weights little."""
    if len(e.rows) < 2 or not e.health.get("weight"):
        return None
    losses = e.column("train_loss")
    apart = right(e, "train") - right(e, "val") > 0.12
    if e.path > 3 or losses[-1] < 0.2 * e.chance or apart:
        return None
    return Finding(
        name="rate_too_low",
        seen=f"the loss falls slowly all along, from {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} "
        f"epochs; all updates together could move the weights {e.path:.2g} times their own size",
        means="the training ends long before the net has learned what it could",
        change=f"raise the rate: {rate(e, e.rate * 10)}, or train for more epochs",
        why="a curve that falls slowly all along wants a larger rate",
        source=NOTES,
        set=(rate(e, e.rate * 10),),
        epochs=(1, len(losses)),
    )


def rate_too_high_later(e: Evidence) -> Finding | None:
    """The loss falls fast, then bounces or stays, under a rate that doesn't fall."""
    losses = e.column("train_loss") if e.rows else []
    if len(losses) < 6 or e.decays:
        return None
    half = len(losses) // 2
    val = e.column("val_loss")[half:]
    bounce = mean(abs(b - a) for a, b in pairwise(val)) / max(1e-9, mean(val))
    gained = (losses[half] - losses[-1]) / max(1e-9, losses[half])
    # Jumps of a small loss matter little.
    if bounce < 0.08 or mean(val) < 0.15 * e.chance:
        return None
    return Finding(
        name="rate_too_high_later",
        seen=f"from epoch {half + 1} on the validation loss jumps by {100 * bounce:.0f}% an epoch; "
        f"the training loss gains {100 * gained:.0f}% in as long",
        means="the steps are too long to settle",
        change="let the rate fall: `schedule=cosine`",
        why="a loss that falls fast and then bounces wants a smaller rate from there on",
        source=NOTES,
        set=("schedule={cosine: {warmup: 1}}",),
        epochs=(half + 1, len(losses)),
    )


def plateau(e: Evidence) -> Finding | None:
    """The training loss stays where it is, under a rate that doesn't fall."""
    losses = e.column("train_loss") if e.rows else []
    if len(losses) < 9 or e.decays or losses[-1] < 0.05 * e.chance:
        return None
    third = 2 * len(losses) // 3
    before, after = mean(losses[third - 2 : third + 1]), mean(losses[-3:])
    if after < 0.95 * before or stuck(e):
        return None
    return Finding(
        name="plateau",
        seen=f"the training loss is {before:.3g} around epoch {third}, {after:.3g} at the end, at one rate",
        means="the net goes around the bottom that it can't get into",
        change="let the rate fall: `schedule=cosine`",
        why="smaller steps reach what larger ones pass over",
        source=NOTES,
        set=("schedule={cosine: {warmup: 1}}",),
        epochs=(third, len(losses)),
    )
