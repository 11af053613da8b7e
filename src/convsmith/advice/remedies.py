"""Changes of a recipe, as overrides after ``--set``, and figures that several rules ask for."""

from __future__ import annotations

from convsmith import catalog
from convsmith.advice.evidence import Evidence

# He et al. 2016 train their nets with it.
USUAL_L2 = 5e-4


def stuck(e: Evidence) -> bool:
    """Whether the training loss never got below that of guessing."""
    return bool(e.rows) and e.classifies and min(e.column("train_loss")) > 0.97 * e.chance


def uneven(e: Evidence) -> bool:
    """Whether one class has more than 70% of the training images."""
    counts = e.counts.get("train", {}).values()
    return len(counts) > 1 and max(counts) > 0.7 * sum(counts)


def right(e: Evidence, split: str) -> float:
    """The last epoch's accuracy on plain images of a split."""
    return e.last("right", split)


def rate(e: Evidence, rate: float) -> str:
    return f"optimizer.{e.optimizer[0]}.lr={rate:.3g}"


def parts(e: Evidence, **parts: str) -> tuple[str, ...]:
    """Overrides for those parts that the net takes by name."""
    name, _ = catalog.split("model", e.recipe.model)
    known = catalog.card("model", catalog.base_name(name)).arguments
    return tuple(f"model.{name}.{part}={value}" for part, value in parts.items() if part in known)


def wider(e: Evidence) -> tuple[str, ...]:
    name, arguments = catalog.split("model", e.recipe.model)
    return (f"model.{name}.width={2 * arguments['width']}",) if "width" in arguments else ()


def shortcuts(e: Evidence) -> tuple[str, ...]:
    """Around the layers of a net that was built without."""
    name, arguments = catalog.split("model", e.recipe.model)
    return (f"model.{name}.plain=false",) if arguments.get("plain") else ()


def dropout(e: Evidence) -> tuple[str, float] | None:
    """The recipe's key of the dropout and its share, if the net has one."""
    name, arguments = catalog.split("model", e.recipe.model)
    given = arguments.get("dropout")
    if isinstance(given, dict):
        kind, options = next(iter(given.items()))
        return f"model.{name}.dropout.{kind}", float((options or {}).get("p", 0.5))
    return None


def smoothing(e: Evidence) -> tuple[str, ...]:
    return ("objective.cross_entropy.smoothing=0.1",) if "cross_entropy" in e.recipe.objective else ()


def regularized(e: Evidence) -> tuple[str, ...]:
    """More of what the recipe has, or what it lacks."""
    if not e.recipe.data.augment:
        return ("data.augment=null", "train.early_stopping.patience=10")
    l2 = (e.recipe.objective.get("l2") or {}).get("weight", USUAL_L2)
    return (f"objective.l2.weight={4 * l2:g}", *smoothing(e), "train.early_stopping.patience=10")
