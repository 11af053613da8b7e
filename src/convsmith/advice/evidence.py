"""The figures that a run has written, as the rules of a diagnosis read them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.advice.trends import errors
from convsmith.errors import UserError, shown
from convsmith.objectives.guessing import guessing, knowing
from convsmith.objectives.objective import IMAGELESS, comparable
from convsmith.recipe import Plan
from convsmith.run.directory import RunDirectory

T = TypeVar("T")
# Images of each split on which the health of a training is measured.
SAMPLE = 256
# Optimizers whose steps grow with the gradient; all others divide the gradient by its size.
PLAIN = ("sgd", "lbfgs")


@dataclass(frozen=True)
class Evidence:
    """A run's recipe and its measurements, epoch by epoch.

    Args:
        recipe: of the run.
        rows: of metrics.csv.
        steps: (epoch, batch, loss) of steps.csv.
        health: values of health.csv by their columns ``what`` and ``name``, one an epoch, nan where none was
            measured.
        counts: images by split and class.
        kept: the run's folder, if it holds a net that a training can go on from.
        flat: how many of the images are as good as one flat color.
    """

    recipe: Plan
    rows: list[dict[str, float]] = field(default_factory=list)
    steps: list[tuple[int, int, float]] = field(default_factory=list)
    health: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    kept: str | None = None
    flat: int = 0

    def column(self, name: str) -> list[float]:
        """One column of metrics.csv."""
        return [row[name] for row in self.rows]

    @property
    def classifies(self) -> bool:
        """Whether the targets are classes."""
        return bool(self.rows) and "val_accuracy" in self.rows[0]

    @cached_property
    def chance(self) -> float:
        """Loss of guessing under this objective and these classes; without classes, the first loss.

        A sampler other than ``shuffle`` evens the classes out, more or less.
        """
        counts = {name: count for name, count in self.counts.get("train", {}).items() if count}
        if len(counts) < 2:
            return max(self.first, 1e-9)
        even = catalog.split("sampler", self.recipe.data.sampler)[0] != "shuffle"
        return max(
            guessing(self.recipe.objective, dict.fromkeys(counts, 1) if even else counts),
            1e-9,
        )

    @cached_property
    def least(self) -> float:
        """Least loss of this objective, 0 where targets aren't smoothed."""
        if not self.classifies or not self.images("train"):
            return 0.0
        return knowing(self.recipe.objective, self.counts["train"])

    @property
    def prior(self) -> float:
        """Share of the commonest class, the accuracy of guessing; 0 without classes."""
        counts = self.counts.get("train", {}).values()
        return max(counts) / sum(counts) if sum(counts) else 0.0

    def comparable(self, split: str) -> bool:
        """Whether the loss of a split can be compared between epochs: no term's scale moves."""
        terms = [name for name in catalog.names("term") if name in self.recipe.objective]
        return all(split in comparable(catalog.load("term", name)) for name in terms if not _penalizes(name))

    def left(self, split: str) -> list[float]:
        """Share of what guessing gets wrong that is still wrong, by epoch: 1 guesses, 0 knows.

        Of the loss where epochs can be compared by it; else of the errors, and of the first epoch's where the
        targets are numbers.
        """
        if self.comparable(split):
            between = max(1e-9, self.chance - self.least)
            return [(loss - self.least) / between for loss in self.column(f"{split}_loss")]
        wrong = errors(self.rows, split)
        if not self.classifies:
            return [error / max(wrong[0], 1e-12) for error in wrong]
        if f"{split}_accuracy" not in self.rows[0]:
            return [math.nan] * len(self.rows)
        return [error / max(1e-12, 1 - self.prior) for error in wrong]

    def images(self, split: str) -> int:
        """Number of a split's images."""
        return sum(self.counts.get(split, {}).values())

    @property
    def measured(self) -> int:
        """Number of training images that health was last measured on."""
        found = self.last("sample", "train")
        return int(found) if math.isfinite(found) else min(SAMPLE, max(1, self.images("train")))

    @property
    def first(self) -> float:
        """The loss of the first batch, before any update."""
        return self.steps[0][2] if self.steps else math.nan

    @property
    def diverged(self) -> tuple[int, int] | None:
        """Epoch and batch of the first loss that is not finite, or a thousand times the first; else None."""
        for epoch, batch, loss in self.steps:
            if not math.isfinite(loss) or loss > 1e3 * max(self.first, self.chance):
                return epoch, batch
        return None

    @cached_property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        """Name and arguments of the recipe's optimizer, defaults included."""
        name, given = catalog.split("optimizer", self.recipe.optimizer)
        signature = inspect.signature(catalog.load("optimizer", name)).parameters
        usual = {k: p.default for k, p in signature.items() if p.default is not inspect.Parameter.empty}
        return name, {**usual, **given}

    @property
    def rate(self) -> float:
        """Learning rate of the optimizer."""
        return float(self.optimizer[1].get("lr", 1.0))

    def last(self, what: str, name: str) -> float:
        """Last value in health.csv; nan if there is none."""
        values = self.health.get(what, {}).get(name, [])
        return next((value for value in reversed(values) if not math.isnan(value)), math.nan)

    @cached_property
    def path(self) -> float:
        """Sum over all updates of the step's size relative to the weights' size, for the median layer.

        A training whose path is short could not move its weights far.

        For plain gradient descent a step is rate * gradient / (1 - momentum); for the optimizers that divide
        by the gradient's size, it is the rate.
        """
        name, arguments = self.optimizer
        updates = self._updates
        total = 0.0
        for epoch, row in enumerate(self.rows):
            sizes = []
            for layer, weights in self.health.get("weight", {}).items():
                weight = min(_at(weights, epoch), self._first_weight(layer) if epoch == 0 else math.inf)
                gradient = _at(self.health["gradient"].get(layer, []), epoch)
                if weight > 0 and not math.isnan(gradient):
                    step = gradient / (1 - arguments.get("momentum", 0)) if name in PLAIN else 1.0
                    steps = updates * row["lr"] * step / weight
                    sizes.append(max(steps, self._grown(layer, weights, epoch)))
            total += median(sizes) if sizes else 0.0
        return total

    @property
    def updates(self) -> int:
        """Number of updates so far."""
        return math.ceil(self._updates * len(self.rows))

    @property
    def _updates(self) -> float:
        """Updates of an epoch, at least one."""
        size = self.recipe.data.batch_size * self.recipe.train.accumulate
        return max(1.0, self.images("train") / size)

    def _grown(self, layer: str, weights: list[float], epoch: int) -> float:
        """How far an epoch must have moved a layer's weights to enlarge them as it did, by steps across them.

        Gradients that are looked at now and then may miss the steps that did it.
        """
        before = _at(weights, epoch - 1) if epoch else self._first_weight(layer)
        after = _at(weights, epoch)
        return math.sqrt(after**2 / before**2 - 1) if 0 < before < after else 0.0

    def _first_weight(self, layer: str) -> float:
        """Size of a layer's weights before any update: a rate that is far too high blows them up at once."""
        return (self.health.get("first_weight", {}).get(layer) or [math.inf])[0]

    @property
    def decays(self) -> bool:
        """Whether the last rate is below 30% of the highest."""
        rates = self.column("lr")
        return bool(rates) and rates[-1] < 0.3 * max(rates)

    @property
    def penalties(self) -> float:
        """Share of the penalties in the objective over the first third of the epochs, in [0, 1]."""
        names = [name for name in catalog.names("term") if _penalizes(name) and name in self.recipe.objective]
        early = self.rows[: max(1, len(self.rows) // 3)]
        extra = sum(row.get(f"train_{name}", 0.0) for row in early for name in names)
        return extra / max(1e-12, extra + sum(row["train_loss"] for row in early))


def _at(values: list[float], epoch: int) -> float:
    """The value of an epoch, or the last one measured before it; nan if there is none."""
    before = values[: epoch + 1] if epoch < len(values) else []
    return next((value for value in reversed(before) if not math.isnan(value)), math.nan)


def _penalizes(name: str) -> bool:
    """Whether a term reads the weights alone."""
    words = set(inspect.signature(catalog.load("term", name).forward).parameters)
    return words - {"self"} <= IMAGELESS


def gather(run: RunDirectory) -> Evidence:
    """Read what ``run`` has written so far; the training may have failed, or be still going on.

    Raises:
        UserError: if the folder is no run, or has not trained a single batch.
    """
    if not run.recipe.exists():
        raise UserError(f"{shown(run.path)} holds no run to diagnose; name a run's folder")
    steps = _read(run.steps, lambda: _steps(run))
    rows = _read(run.metrics, run.read_metrics)
    if not steps and not rows:
        raise UserError(f"{shown(run.path)} has not trained a single epoch; there is nothing to diagnose yet")
    # Epoch 0 is a classifier that was solved, not trained: no part of a curve.
    rows = [row for row in rows if row["epoch"] >= 1]
    health = _read(run.health, lambda: _health(run))
    data = run.read_json(run.data)
    counts = data["counts"]
    if rows and "val_accuracy" in rows[0]:
        # All validation images are looked at in each epoch; earlier versions asked a sample once more.
        health.setdefault("right", {})["val"] = [row["val_accuracy"] for row in rows]
    kept = str(run.path.absolute()) if run.weights.exists() and run.model.exists() else None
    return Evidence(recipes.load_plan(run.recipe), rows, steps, health, counts, kept, data.get("flat", 0))


def _read(file: Path, reader: Callable[[], T]) -> T:
    try:
        return reader()
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{shown(file)} is damaged ({error}); restore it, or delete it") from None


def _steps(run: RunDirectory) -> list[tuple[int, int, float]]:
    return [(int(r["epoch"]), int(r["batch"]), float(r["loss"])) for r in run.read_table(run.steps)]


def _health(run: RunDirectory) -> dict[str, dict[str, list[float]]]:
    """Values by ``what`` and ``name``, one an epoch, nan where none was measured."""
    at: dict[str, dict[str, dict[int, float]]] = {}
    for row in run.read_table(run.health):
        values = at.setdefault(row["what"], {}).setdefault(row["name"], {})
        values[int(row["epoch"])] = float(row["value"])
    last = max((epoch for names in at.values() for values in names.values() for epoch in values), default=0)
    # What was measured before the first update is of epoch 0, all else of the epochs from 1 on.
    return {
        what: {
            name: [values[0]] if 0 in values else [values.get(n, math.nan) for n in range(1, last + 1)]
            for name, values in names.items()
        }
        for what, names in at.items()
    }
