"""Changes of a recipe as overrides ``"a.b=c"``, and figures that several rules need."""

from __future__ import annotations

import math

from convsmith import catalog
from convsmith.advice.evidence import Evidence

# Weight of L2 with which He et al. 2016 train.
USUAL_L2 = 5e-4


def stuck(e: Evidence) -> bool:
    """Whether the training never got clearly better than guessing."""
    return bool(e.rows) and e.classifies and min(e.left("train")) > 0.97


def uneven(e: Evidence) -> bool:
    """Whether one class has more than 70% of the training images."""
    counts = e.counts.get("train", {}).values()
    return len(counts) > 1 and max(counts) > 0.7 * sum(counts)


def right(e: Evidence, split: str) -> float:
    """Last known accuracy on images of a split without augmentation, for ``val`` on all of them."""
    if split == "val" and e.rows and "val_accuracy" in e.rows[0]:
        return e.rows[-1]["val_accuracy"]
    return e.last("right", split)


def deviation(share: float, images: int) -> float:
    """Standard error of a share of so many images, at least that of one image more or less.

    >>> deviation(0.5, 100), deviation(1.0, 100)
    (0.05, 0.01)
    """
    images = max(1, images)
    return max(math.sqrt(max(0.0, share * (1 - share)) / images), 1 / images)


def gap(e: Evidence) -> tuple[float, float]:
    """Training accuracy minus validation accuracy at the end, without augmentation, and its standard
    error.
    """
    train, val = right(e, "train"), right(e, "val")
    error = math.hypot(deviation(train, e.measured), deviation(val, e.images("val")))
    return train - val, error


def again(e: Evidence, epochs: int) -> tuple[str, ...]:
    """Overrides that train the last epochs again: from the kept net, at a tenth of the rate; none if there
    is no
    kept net, or too few validation images, since others may become validation images then.
    """
    if e.kept is None or (e.classifies and e.images("val") < 100):
        return ()
    return (
        f"train.start_from={e.kept}",
        "train.finetune=null",
        rate(e, e.rate / 10),
        "schedule={cosine: {warmup: 0}}",
        f"train.epochs={max(1, epochs)}",
    )


def rate(e: Evidence, rate: float) -> str:
    """Override that sets the optimizer's rate."""
    return f"optimizer.{e.optimizer[0]}.lr={rate:.3g}"


def parts(e: Evidence, **parts: str) -> tuple[str, ...]:
    """Overrides that set parts of the net, of those that it lets be chosen."""
    name, _ = catalog.split("model", e.recipe.model)
    known = catalog.card("model", catalog.base_name(name)).arguments
    return tuple(f"model.{name}.{part}={value}" for part, value in parts.items() if part in known)


def wider(e: Evidence) -> tuple[str, ...]:
    """Override that doubles the net's width; none if the recipe gives no width."""
    name, arguments = catalog.split("model", e.recipe.model)
    return (f"model.{name}.width={2 * arguments['width']}",) if "width" in arguments else ()


def shortcuts(e: Evidence) -> tuple[str, ...]:
    """Override that adds shortcuts to a net that was built without."""
    name, arguments = catalog.split("model", e.recipe.model)
    return (f"model.{name}.plain=false",) if arguments.get("plain") else ()


def dropout(e: Evidence) -> tuple[str, float] | None:
    """Key of the net's dropout in the recipe, and its share; None if the recipe gives none."""
    name, arguments = catalog.split("model", e.recipe.model)
    given = arguments.get("dropout")
    if isinstance(given, dict):
        kind, options = next(iter(given.items()))
        return f"model.{name}.dropout.{kind}", float((options or {}).get("p", 0.5))
    return None


def smoothing(e: Evidence) -> tuple[str, ...]:
    """Override that smooths labels; none without cross-entropy."""
    return ("objective.cross_entropy.smoothing=0.1",) if "cross_entropy" in e.recipe.objective else ()


def regularized(e: Evidence) -> tuple[str, ...]:
    """Overrides that regularize more: augmentation if there is none, else more decay and smoothing."""
    if not e.recipe.data.augment:
        return ("data.augment=null", "train.early_stopping.patience=10")
    l2 = (e.recipe.objective.get("l2") or {}).get("weight", USUAL_L2)
    return (f"objective.l2.weight={4 * l2:g}", *smoothing(e), "train.early_stopping.patience=10")
