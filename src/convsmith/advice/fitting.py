"""Rules about training and validation accuracy: size of the net, regularization, and the data."""

from __future__ import annotations

import math

from convsmith.advice.evidence import SAMPLE, Evidence
from convsmith.advice.remedies import (
    USUAL_L2,
    dropout,
    regularized,
    right,
    smoothing,
    stuck,
    uneven,
    wider,
)
from convsmith.findings import Finding

# Difference of training and validation accuracy from which on a net over-fits.
GAP = 0.13
FITTING = "study notes, chapter 9, on validation curves"


def too_much_regularization(e: Evidence) -> Finding | None:
    """Under-fitting that the recipe's penalty or dropout explains."""
    if len(e.rows) < 2 or not e.classifies:
        return None
    left_out = dropout(e)
    low = right(e, "train") < 0.8
    weight = (e.recipe.objective.get("l2") or {}).get("weight", 0.0)
    # The weight is asked too, since a rate that is too high lets weights, and so the penalty, grow as well.
    if e.penalties > 0.5 and weight >= 10 * USUAL_L2:
        cause = (
            f"the penalty on weights is {100 * e.penalties:.0f}% of what is minimized at first, its "
            f"weight {weight / USUAL_L2:.0f} times the usual"
        )
        change: tuple[str, ...] = (f"objective.l2.weight={USUAL_L2:g}",)
    elif left_out is not None and left_out[1] > 0.7 and low:
        cause = f"dropout leaves out {100 * left_out[1]:.0f}% of the units"
        change = (f"{left_out[0]}.p=0.5",)
    else:
        return None
    return Finding(
        name="under_fitting",
        seen=f"{cause}; {100 * right(e, 'train'):.0f}% of the training images are right",
        means="the net may not fit its images for all the regularization",
        change=f"regularize less: {change[0]}",
        why="a net that fails on its own training images has no room, or may not use it",
        source=FITTING,
        set=change,
        epochs=(1, len(e.rows)),
    )


def collapse(e: Evidence) -> Finding | None:
    """One class has nearly all training images, and nearly all answers."""
    answers, true = e.last("predicted", "answers"), e.last("predicted", "true")
    if not uneven(e) or not answers > max(0.9, true + 0.01):
        return None
    counts = e.counts["train"].values()
    return Finding(
        name="collapse",
        seen=f"{100 * answers:.0f}% of the answers are one class, that of {100 * true:.0f}% of the images; "
        f"{100 * max(counts) / sum(counts):.0f}% of the training images are of one class",
        means="the net has learned which class is commonest, not what the others look like",
        change="even the classes: `data.sampler=class_balanced`, or objective logit_adjustment",
        why="always answering the commonest class costs little where it is nearly all",
        source="study notes, chapter 11; Menon et al. 2021",
        set=("data.sampler=class_balanced",),
        epochs=(1, len(e.rows)),
    )


def label_noise(e: Evidence) -> Finding | None:
    """The net is right on more validation than training images, more than chance allows."""
    train, val = (e.health.get("right", {}).get(name, []) for name in ("train", "val"))
    gaps = [v - t for t, v in zip(train, val)]
    if not gaps or max(gaps) < 3 * _error(e) or max(val) < 0.4:
        return None
    at = gaps.index(max(gaps))
    return Finding(
        name="label_noise",
        seen=f"in epoch {at + 1} the net is right on {100 * val[at]:.0f}% of the validation images and on "
        f"{100 * train[at]:.0f}% of the training images, without augmentation",
        means=f"about {100 * max(gaps):.0f}% or more of the training labels are wrong",
        change="look through the training labels; until then smooth them, and stop early",
        why="a net learns what is common first and memorizes exceptions later",
        source="Arpit et al. 2017; Northcutt et al. 2021",
        set=(*smoothing(e), "train.early_stopping.patience=5"),
        epochs=(at + 1, at + 1),
    )


def over_fitting(e: Evidence) -> Finding | None:
    """Training images are right, validation images are wrong."""
    train, val = right(e, "train"), right(e, "val")
    if len(e.rows) < 3 or not train > 0.7 or train - val < _gap(e):
        return None
    losses = e.column("val_loss")
    best = losses.index(min(losses))
    rises = losses[-1] > 1.1 * losses[best] and best < len(losses) - 2
    seen = (
        f"{100 * train:.0f}% of the training images are right, and {100 * val:.0f}% of the validation images"
    )
    if rises:
        seen += f"; the validation loss rises from {losses[best]:.3g} in epoch {best + 1} to {losses[-1]:.3g}"
    change = regularized(e)
    return Finding(
        name="over_fitting",
        seen=seen,
        means="the net knows its training images by heart",
        change=f"more images, or what stands for them: {', '.join(change)}",
        why="what is learned by heart doesn't help with new images",
        source=FITTING,
        set=change,
        epochs=(best + 1, len(losses)),
    )


def under_fitting(e: Evidence) -> Finding | None:
    """Training images are wrong as well."""
    train, val = right(e, "train"), right(e, "val")
    if len(e.rows) < 3 or not train < 0.72 or train - val >= _gap(e) or stuck(e):
        return None
    losses = e.column("train_loss")
    falling = losses[-1] < 0.97 * losses[-max(2, len(losses) // 5)]
    longer = f"train.epochs={2 * e.recipe.train.epochs}"
    return Finding(
        name="under_fitting",
        seen=f"{100 * train:.0f}% of the training images are right, and {100 * val:.0f}% of the validation "
        f"images: the two go together",
        means="the net has no room for what there is to learn, or no time",
        change=f"{'' if falling else 'take a larger net, and '}train longer: {longer}",
        why="where training images are wrong too, more data or regularization can't help",
        source=FITTING,
        set=(*wider(e), longer),
        epochs=(1, len(losses)),
    )


def noisy_validation(e: Evidence) -> Finding | None:
    """There are too few validation images to tell epochs apart."""
    count = sum(e.counts.get("val", {}).values())
    if not e.classifies or count >= 100 or not count:
        return None
    images = sum(e.counts.get("train", {}).values())
    share = min(0.5, 100 / (images + count))
    return Finding(
        name="noisy_validation",
        seen=f"there are {count} validation images: one of them is {100 / count:.1f}% of accuracy",
        means=f"two epochs must differ by {200 * 0.5 / math.sqrt(count):.0f}% before it says anything: the "
        f"best epoch is partly the luckiest",
        change=f"hold more images back: `data.val={share:.2g}`",
        why="the standard error of an accuracy is at most 0.5 / sqrt(images)",
        source="binomial distribution",
        set=(f"data.val={share:.2g}",),
        epochs=(1, max(1, len(e.rows))),
    )


def _error(e: Evidence) -> float:
    """Upper bound of the standard error of the difference between the two samples' accuracies."""
    sizes = [min(SAMPLE, max(1, sum(e.counts.get(name, {}).values()))) for name in ("train", "val")]
    return 0.5 * math.sqrt(1 / sizes[0] + 1 / sizes[1])


def _gap(e: Evidence) -> float:
    """Difference of training and validation accuracy that chance does not explain."""
    return max(GAP, 2 * _error(e))
