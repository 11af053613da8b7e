"""Rules about the learning rate."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean as mean
from typing import Any

from convsmith.advice.evidence import Evidence
from convsmith.advice.remedies import again, gap, rate, stuck, uneven
from convsmith.advice.trends import flat, noise
from convsmith.findings import Finding

NOTES = "study notes, chapter 10, on learning rates"
# Sum of the steps relative to the weights below which new weights, or trained ones, could not move far. New
# ones: by their own size; rates that were a hundred times too low came to 0.3, healthy trainings to 2.8.
PATH, TUNED_PATH = 1.0, 0.1
# Shares of the loss, of guessing and of the beginning, that are left where it falls slowly: planted ones had
# 0.54 and more left of guessing.
LEAST, SLOW = 0.2, 0.5
# Updates below which no rate teaches much, and as many as are proposed then.
FEW, ENOUGH = 100, 500


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
    if e.comparable("train"):
        worst = max((loss for _, _, loss in e.steps), default=0.0)
        # A jump did no harm if the training has come back from it.
        if worst > 3 * max(e.first, e.chance) and not (e.rows and e.left("train")[-1] < 0.7):
            return f"the loss rises from {e.first:.3g} to {worst:.3g}"
    if stuck(e) and e.path > PATH:
        return f"the loss stays at {min(e.column('train_loss')):.3g}, that of guessing"
    if e.last("predicted", "answers") > 0.95 and not uneven(e) and e.path > PATH:
        return f"{100 * e.last('predicted', 'answers'):.0f}% of the answers are one class"
    return None


def _late_start(e: Evidence) -> str | None:
    """Most of what is learned is learned once the rate has fallen; the fall before is judged beyond noise."""
    left = e.left("train") if e.rows else []
    if len(left) < 6 or not e.decays or not e.classifies:
        return None
    half, end = left[len(left) // 2 - 1], left[-1]
    # Written so that nan, for what isn't known, finds nothing.
    if not (end <= 0.7 and 1 - half <= 0.55 * (1 - end)):
        return None
    return (
        f"after half of the epochs {100 * half:.0f}% of the loss of guessing is left, and "
        f"{100 * end:.0f}% at the "
        f"end, as the rate falls"
    )


def rate_too_low(e: Evidence) -> Finding | None:
    """The loss falls slowly all along, or stays; all updates together move the weights little."""
    if len(e.rows) < 2 or not e.health.get("weight"):
        return None
    losses, left = e.column("train_loss"), e.left("train")
    apart, error = gap(e)
    tuned = e.recipe.train.start_from is not None
    begun = left[0] if tuned else 1.0
    # A net that knows its training images better than others has learned; NaN where that isn't known.
    if e.path > (TUNED_PATH if tuned else PATH) or apart > max(0.12, 2 * error):
        return None
    if not left[-1] >= max(LEAST, SLOW * begun):
        return None
    course = (
        f"the loss stays at {losses[-1]:.3g}, that of guessing, for {len(losses)} epochs"
        if stuck(e)
        else f"the loss falls slowly all along, from {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} "
        f"epochs"
    )
    seen = (
        f"{course}; all {e.updates:,} updates together could move the weights {e.path:.2g} times their own "
        f"size"
    )
    if e.updates < FEW:
        longer = min(10 * len(losses), math.ceil(len(losses) * ENOUGH / e.updates))
        return Finding(
            name="too_few_updates",
            seen=seen,
            means="the training ends before any rate could have taught the net much",
            change=f"train for more epochs: `train.epochs={longer}`; or in smaller batches",
            why="a net learns by updates, and few images make few of them an epoch",
            source=NOTES,
            set=(f"train.epochs={longer}",),
            epochs=(1, len(losses)),
        )
    return Finding(
        name="rate_too_low",
        seen=seen,
        means="the steps are too small"
        + (", or the images don't tell the classes apart" if stuck(e) else " for so many epochs"),
        change=f"raise the rate: {rate(e, e.rate * 10)}"
        + ("; if the loss stays then too, look at the images and their labels" if stuck(e) else ""),
        why="a curve that falls slowly all along wants a larger rate",
        source=NOTES,
        set=(rate(e, e.rate * 10),),
        epochs=(1, len(losses)),
    )


def rate_too_high_later(e: Evidence) -> Finding | None:
    """The loss falls fast, then bounces or stays, under a rate that doesn't fall."""
    left = e.left("train") if e.rows else []
    # An average of the weights doesn't bounce: it is there for rates that stay.
    if len(left) < 6 or e.decays or e.recipe.train.ema is not None:
        return None
    half = len(left) // 2
    val = e.left("val")[half:]
    bounce = mean(abs(b - a) for a, b in pairwise(val)) / max(1e-9, mean(val))
    gained = (left[half] - left[-1]) / max(1e-9, left[half])
    # Jumps of a small loss matter little, and those that a few images make say nothing.
    if not bounce >= max(0.08, 1 / math.sqrt(max(1, e.images("val")))) or not mean(val) >= 0.15:
        return None
    return Finding(
        name="rate_too_high_later",
        seen=f"from epoch {half + 1} on the validation loss jumps by {100 * bounce:.0f}% an epoch; "
        f"the training loss gains {100 * gained:.0f}% in as long",
        means="the steps are too long to settle",
        why="a loss that falls fast and then bounces wants a smaller rate from there on",
        source=NOTES,
        epochs=(half + 1, len(left)),
        **_smaller(e),
    )


def plateau(e: Evidence) -> Finding | None:
    """The training loss stays where it is, within its noise, under a rate that doesn't fall."""
    left = e.left("train") if e.rows else []
    if len(left) < 9 or e.decays or not left[-1] >= 0.05 or stuck(e) or e.recipe.train.ema is not None:
        return None
    window = max(3, len(left) // 3)
    # With a long noisy curve as with a short one: a fall of 5% in a third of the epochs is worth going on
    # for.
    if not flat(left, window, 0.05):
        return None
    before, after = (mean(part) * e.chance for part in (left[-2 * window : -window], left[-window:]))
    return Finding(
        name="plateau",
        seen=f"the training loss is {before:.3g} in the middle third of the epochs, {after:.3g} in the "
        f"last, at one rate; from epoch to epoch it changes by {noise(left) * e.chance:.2g}",
        means="the net goes around the bottom that it can't get into",
        why="smaller steps reach what larger ones pass over",
        source=NOTES,
        epochs=(len(left) - window, len(left)),
        **_smaller(e),
    )


def _smaller(e: Evidence) -> Any:
    """What mends steps that are too long at the end: the last epochs again from the kept net, or all anew."""
    last = again(e, len(e.rows) // 3)
    if not last:
        return {"change": "let the rate fall: `schedule=cosine`", "set": ("schedule={cosine: {warmup: 1}}",)}
    return {
        "change": f"train the last epochs again at a smaller rate, from the net that was kept: "
        f"{' '.join(last)}; or all of them, with a rate that falls: `schedule=cosine`",
        "set": last,
    }
