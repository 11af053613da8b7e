"""Which epoch of a training is the best: one rule for the loop that keeps it and the pages that show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

Row = TypeVar("Row", bound=Mapping[str, float])
# Figures of which more is better; of all others, less.
HIGHER = frozenset({"accuracy", "balanced_accuracy", "macro_f1"})
# What each is called by people.
WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "expected_cost": "expected cost",
    "loss": "loss",
    "mae": "mean absolute error",
    "scaled_mae": "mean absolute error in deviations",
    "rmse": "root mean squared error",
    "kl": "KL divergence",
}


def column(name: str) -> str:
    """The column of metrics.csv that holds a figure of the validation images.

    ``val_expected_cost`` is that of the objective's term, which weighs all decisions by their probabilities.

    >>> column("mae"), column("expected_cost")
    ('val_mae', 'val_decision_cost')
    """
    return "val_decision_cost" if name == "expected_cost" else f"val_{name}"


def rank(row: Mapping[str, float], name: str, *, comparable: bool = True) -> tuple[bool, float, float]:
    """Sort key of an epoch, larger is better: the figure first, then the validation loss.

    A net whose figure or loss is no finite number is worse than any other.

    Args:
        row: of metrics.csv.
        name: of the figure, see :func:`column`.
        comparable: whether the loss means the same in all epochs.

    >>> rank({"val_accuracy": 0.9, "val_loss": math.nan}, "accuracy") < rank(
    ...     {"val_accuracy": 0.1, "val_loss": 2.0}, "accuracy"
    ... )
    True
    """
    value, loss = row[column(name)], row["val_loss"]
    if not (math.isfinite(value) and math.isfinite(loss)):
        return False, 0.0, 0.0
    return True, value if name in HIGHER else -value, -loss if comparable else 0.0


def best(rows: Sequence[Row], name: str) -> Row:
    """The first of the best epochs."""
    return max(rows, key=lambda row: rank(row, name))
