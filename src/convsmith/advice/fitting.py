"""Rules about training and validation accuracy: size of the net, regularization, and the data."""

from __future__ import annotations

import math

from convsmith.advice.evidence import Evidence
from convsmith.advice.remedies import (
    USUAL_L2,
    deviation,
    dropout,
    gap,
    regularized,
    right,
    smoothing,
    stuck,
    uneven,
    wider,
)
from convsmith.advice.trends import errors, noise, risen
from convsmith.findings import Finding

# Standard errors of a difference that must lie between two accuracies.
SURE = 3.0
# Difference of training and validation accuracy, where all training images are right, that is over-fitting.
BY_HEART = 0.13
# Training images a class below which such a gap is theirs.
FEW = 20
# Share of what lies between guessing and knowing that a net which under-fits knows at most, the share of
# the loss
# of guessing that is left to it, and how far apart its two accuracies lie at most, of the training's.
KNOWN, LEFT, TOGETHER = 0.72, 0.4, 0.06
# Share of wrong labels that can be told, and share of the errors in which the net must be sure of another
# class.
NOISE, DOUBTED = 0.05, 0.5
# Share of images of one flat color that spoils a training.
FLAT = 0.3
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


def flat_images(e: Evidence) -> Finding | None:
    """Most images are as good as one flat color: whatever the curves say, that is why."""
    number = sum(map(e.images, e.counts))
    if not number or e.flat < FLAT * number:
        return None
    return Finding(
        name="flat_images",
        seen=f"{e.flat:,} of {number:,} images are as good as one flat color, as the net reads them",
        means="nothing can be learned from them, whatever the rate and the net",
        change="look at them; the advice and data.json say why they are so, and what helps",
        why="without differences there is nothing to tell classes apart by",
        source="data.json",
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
    """The net is right on more validation than training images, and sure of another class for those it
    misses.

    Pictures that are hard to recognize, or spoiled, are missed too; but of them the net isn't sure.
    """
    train, val, doubted = (
        e.health.get(what, {}).get(name, [])
        for what, name in (("right", "train"), ("right", "val"), ("doubted", "train"))
    )
    gaps = [v - t if d >= DOUBTED * (1 - t) else -1.0 for t, v, d in zip(train, val, doubted)]
    if not gaps:
        return None
    at = gaps.index(max(gaps))
    error = math.hypot(deviation(train[at], e.measured), deviation(val[at], e.images("val")))
    # Better than guessing by far, so that the net's own opinion of a label counts.
    if not gaps[at] >= max(SURE * error, NOISE) or not val[at] - e.prior > 0.4 * (1 - e.prior):
        return None
    return Finding(
        name="label_noise",
        seen=f"in epoch {at + 1} the net is right on {100 * val[at]:.0f}% of the validation images and on "
        f"{100 * train[at]:.0f}% of the training images, without augmentation; it is sure of another "
        f"class for "
        f"{100 * doubted[at]:.0f}% of them",
        means=f"about {100 * gaps[at]:.0f}% or more of the training labels are wrong",
        change="look through the training labels; until then smooth them, and stop early",
        why="a net learns what is common first and memorizes exceptions later",
        source="Arpit et al. 2017; Northcutt et al. 2021",
        set=(*smoothing(e), "train.early_stopping.patience=5"),
        epochs=(at + 1, at + 1),
    )


def over_fitting(e: Evidence) -> Finding | None:
    """Validation accuracy lies below training accuracy and falls with the epochs; or it stays there while
    the net
    knows its training images by heart, which are few.

    A gap alone is none: large nets know all of their images, and get better at others to the last epoch.
    """
    apart, error = gap(e)
    if len(e.rows) < 3 or not apart > SURE * error:
        return None
    wrong = errors(e.rows, "val")
    each = e.images("train") / max(1, len(e.counts.get("train", {})))
    falls = risen(wrong, e.images("val") if e.classifies else 0, max(1, min(5, len(wrong) // 4)))
    if falls is not None:
        best, end = 100 * (1 - falls.best), 100 * (1 - falls.end)
        fate = f"fell from {best:.0f}% in epoch {falls.epoch + 1} to {end:.0f}%"
    elif apart > BY_HEART and _by_heart(e):
        fate = "hasn't risen for the second half of the epochs"
    elif apart > BY_HEART and right(e, "train") > 0.9 and each < FEW:
        fate = f"can't follow with {each:.0f} training images a class"
    else:
        return None
    change = regularized(e)
    return Finding(
        name="over_fitting",
        seen=f"{100 * right(e, 'train'):.0f}% of the training images are right, and "
        f"{100 * right(e, 'val'):.0f}% of the validation images, whose accuracy {fate}",
        means="the net knows its training images by heart",
        change=f"more images, or what stands for them: {', '.join(change)}",
        why="what is learned by heart doesn't help with new images",
        source=FITTING,
        set=change,
        epochs=((falls.epoch if falls else len(wrong) // 2) + 1, len(wrong)),
    )


def _by_heart(e: Evidence) -> bool:
    """Whether nearly all training images were right for half of the epochs, and validation got no better by
    it.
    """
    half = len(e.rows) // 2
    known = [share for share in e.health.get("right", {}).get("train", [])[half:] if not math.isnan(share)]
    if len(e.rows) < 6 or not known or min(known) < 0.97:
        return False
    wrong = errors(e.rows, "val")
    window = max(2, len(wrong) // 6)
    before, after = (sum(part) / window for part in (wrong[half : half + window], wrong[-window:]))
    error = math.hypot(noise(wrong[half:]) * math.sqrt(2 / window), deviation(after, e.images("val")))
    return before - after < max(2 * error, 0.02 * before)


def under_fitting(e: Evidence) -> Finding | None:
    """Validation accuracy doesn't fall, and training images are wrong as often: little more than guessed."""
    apart, error = gap(e)
    train, val = right(e, "train"), right(e, "val")
    known = (train - e.prior) / max(1e-9, 1 - e.prior)
    if len(e.rows) < 3 or not known < KNOWN or not apart < max(SURE * error, TOGETHER * train) or stuck(e):
        return None
    if not min(e.left("train")[-1], e.left("val")[-1]) > LEFT:
        return None
    losses = e.left("train")
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
