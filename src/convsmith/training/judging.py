"""The figure by which the kept epoch is chosen: that which the run is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convsmith.data.dataset import Dataset
from convsmith.data.targets import Measure
from convsmith.errors import UserError
from convsmith.objectives.costs import decide

# What goes with classes, and with numbers.
OF_CLASSES = ("accuracy", "balanced_accuracy", "macro_f1", "expected_cost", "loss")
OF_NUMBERS = ("mae", "scaled_mae", "rmse", "loss")


@dataclass(frozen=True)
class Judge:
    """A figure of the validation images: sums over batches, and what they say in the end.

    Args:
        name: its column of metrics.csv is :func:`convsmith.run.best.column` of it.
        of: from outputs (n, K), targets (n,) and costs (n, K) or None to sums, of one shape for all batches.
        value: from the sums over all images and their number to the figure.
    """

    name: str
    of: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    value: Callable[[Tensor, float], float] = lambda total, count: float(total) / count


def judge_of(name: str | None, measure: Measure, dataset: Dataset) -> Judge | None:
    """The judge of a name; None where the epochs' own measure, or their loss, judges.

    Raises:
        UserError: if the targets have no such figure.
    """
    known = {"classes": OF_CLASSES, "numbers": OF_NUMBERS}.get(dataset.kind, (measure.name, "loss"))
    if name is None or name == measure.name:
        return None
    if name not in known:
        raise UserError(
            f"`train.choose_by={name}` isn't a figure of these targets; take one of {', '.join(known)}"
        )
    if name == "loss":
        return None
    if name == "rmse":
        return _root_mean_square(dataset)
    if name == "scaled_mae":
        return _scaled(dataset)
    classes = len(dataset.classes)
    if name == "expected_cost":
        matrix = dataset.costs
        return Judge(name, lambda output, target, costs: _cost(output, target, costs, matrix))
    value = _balanced if name == "balanced_accuracy" else _macro_f1
    return Judge(name, lambda output, target, _: _counts(output, target, classes), value)


def _hard(target: Tensor) -> Tensor:
    return target.argmax(1) if target.ndim == 2 else target


def _counts(output: Tensor, target: Tensor, classes: int) -> Tensor:
    """Right answers, images and answers of each class, (3, K)."""
    own, found = _hard(target), output.argmax(1)
    return torch.stack(
        [torch.bincount(labels, minlength=classes).double() for labels in (own[own == found], own, found)]
    )


def _balanced(total: Tensor, count: float) -> float:
    right, images, _ = total
    there = images > 0
    return float((right[there] / images[there]).mean())


def _macro_f1(total: Tensor, count: float) -> float:
    right, images, answers = total
    there = images + answers > 0
    return float((2 * right[there] / (images + answers)[there]).mean())


def _cost(output: Tensor, target: Tensor, costs: Tensor | None, matrix: Tensor | None) -> Tensor:
    """Sum of what the decisions cost: by the images' own costs, else the matrix, else 1 for a mistake."""
    own = _hard(target)
    table = None if matrix is None else matrix.to(output.device).double()
    answers = torch.as_tensor(decide(output.double().softmax(1), table)).to(output.device)
    if costs is not None:
        return costs.double().gather(1, answers[:, None]).sum()
    if table is not None:
        return table[own, answers].sum()
    return (own != answers).double().sum()


def _scaled(dataset: Dataset) -> Judge:
    """Mean absolute error over targets, each in units of its own deviation over the training images."""
    encoding = dataset.encoding
    assert encoding is not None
    values = dataset.values("train")
    # A target that never varies counts in its own unit.
    spread = values.std(0, correction=0)
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))

    def scaled(output: Tensor, target: Tensor, _: Tensor | None) -> Tensor:
        error = encoding.error(encoding.decode(output.float()), encoding.decode(target.float()))
        return (error.double().abs() / spread.to(error.device)).mean(1).sum()

    return Judge("scaled_mae", scaled)


def _root_mean_square(dataset: Dataset) -> Judge:
    encoding = dataset.encoding
    assert encoding is not None

    def squares(output: Tensor, target: Tensor, _: Tensor | None) -> Tensor:
        error = encoding.error(encoding.decode(output.float()), encoding.decode(target.float()))
        return error.double().square().mean(1).sum()

    return Judge("rmse", squares, lambda total, count: math.sqrt(float(total) / count))
