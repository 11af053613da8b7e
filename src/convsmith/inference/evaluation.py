"""How well a trained net does on a split: accuracy, loss, confusion, calibration."""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import rel_entr
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

from convsmith.data.dataset import Dataset
from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.inference import intervals
from convsmith.inference.answers import refuse_nonfinite
from convsmith.inference.cells import table
from convsmith.inference.number_evaluation import NumberEvaluation, chosen_on_them
from convsmith.inference.predictor import Predictor
from convsmith.objectives.costs import decide

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@contextmanager
def few_of_each() -> Iterator[None]:
    """Within it scikit-learn doesn't take classes with one or two images for numbers, and warn of that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        yield


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Posteriors (N, K) and true classes (N,) of a split, and the figures drawn from them.

    ``chosen_by`` is the figure by which the net's epoch was chosen on these very images, None if it wasn't.
    ``findings`` say which files were left out. ``costs`` (K, K) are of each decision (column) about each
    class (row), ``image_costs`` (N, K) of each decision about each image.
    """

    split: str
    classes: list[str]
    probabilities: Floats
    targets: Ints
    findings: Sequence[Finding] = ()
    costs: Floats | None = None
    image_costs: Floats | None = None
    chosen_by: str | None = None

    @property
    def headline(self) -> str:
        """The result in a few words."""
        return f"{self.result}, loss {self.loss:.4f}, balanced accuracy {100 * self.balanced_accuracy:.2f}%"

    @property
    def result(self) -> str:
        """The accuracy with its interval, and whether the images have chosen the epoch."""
        low, high = self.interval
        return (
            f"{100 * self.accuracy:.2f}% ({100 * low:.1f}-{100 * high:.1f}) of {len(self.targets):,} "
            f"{self.split} images right{chosen_on_them(self.chosen_by)}"
        )

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy."""
        return intervals.of_share(self.accuracy, len(self.targets))

    @property
    def balanced_interval(self) -> tuple[float, float]:
        """95% interval of the balanced accuracy."""
        there = np.unique(self.targets)
        table = self.confusion
        return intervals.of_recalls(
            [int(table[label, label]) for label in there], [int(table[label].sum()) for label in there]
        )

    def __repr__(self) -> str:
        return f"Evaluation: {self.headline}, {len(self.classes)} classes"

    def _repr_html_(self) -> str:
        """The headline, and a row for each class, worst first."""
        rows = sorted(self.per_class().items(), key=lambda row: row[1]["recall"])
        percent = ("recall", "precision", "f1")
        cells = [
            [name, *(f"{100 * row[key]:.1f}%" for key in percent), f"{row['n']:,}"] for name, row in rows
        ]
        return f"<p>{html.escape(self.headline)}</p>" + table(["class", *percent, "images"], cells)

    @property
    def predicted(self) -> Ints:
        """The decisions, (N,): of least expected cost where costs are known, else the likeliest class."""
        costs = torch.from_numpy(self.costs) if self.costs is not None else None
        return np.asarray(decide(torch.from_numpy(self.probabilities), costs))

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.targets).mean())

    @property
    @few_of_each()
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that the split has images of."""
        return float(
            recall_score(self.targets, self.predicted, labels=np.unique(self.targets), average="macro")
        )

    @property
    @few_of_each()
    def macro_f1(self) -> float:
        """Mean F1 over all classes that are there or were predicted."""
        return float(f1_score(self.targets, self.predicted, average="macro"))

    @property
    def expected_cost(self) -> float:
        """Mean cost of the decisions: by the images' own costs, else the matrix, else 1 for each mistake."""
        rows = np.arange(len(self.targets))
        if self.image_costs is not None:
            return float(self.image_costs[rows, self.predicted].mean())
        if self.costs is not None:
            return float(self.costs[self.targets, self.predicted].mean())
        return 1 - self.accuracy

    @property
    def loss(self) -> float:
        """Mean negative log-probability of the true class."""
        own = self.probabilities[np.arange(len(self.targets)), self.targets]
        return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())

    @property
    @few_of_each()
    def confusion(self) -> Ints:
        """(K, K) counts, true class by row, predicted class by column."""
        return np.asarray(confusion_matrix(self.targets, self.predicted, labels=range(len(self.classes))))

    @few_of_each()
    def per_class(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and number of images of each class; 0 where a class has none."""
        table = precision_recall_fscore_support(
            self.targets, self.predicted, labels=range(len(self.classes)), zero_division=0
        )
        words = ("precision", "recall", "f1", "n")
        return {
            name: dict(zip(words, (*map(float, row[:3]), int(row[3]))))
            for name, row in zip(self.classes, zip(*table))
        }

    def calibration(self, bins: int = 10) -> tuple[list[tuple[float, float, int]], float]:
        """For each filled bin of confidence (mean confidence, accuracy, images), and the expected
        calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3)."""
        confidence = self.probabilities.max(1)
        right = self.predicted == self.targets
        place = np.minimum((confidence * bins).astype(int), bins - 1)
        rows = []
        for number in range(bins):
            inside = place == number
            if inside.any():
                rows.append(
                    (float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
                )
        error = sum(abs(mean - accuracy) * count for mean, accuracy, count in rows) / len(right)
        return rows, float(error)

    def mistakes(self, count: int) -> list[int]:
        """Rows of the most confident wrong answers, most confident first."""
        wrong = np.flatnonzero(self.predicted != self.targets)
        order = np.argsort(-self.probabilities[wrong].max(1), kind="stable")
        return [int(row) for row in wrong[order][:count]]

    def summary(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_interval": list(self.balanced_interval),
            "chosen_by": self.chosen_by,
            "macro_f1": self.macro_f1,
            "expected_cost": self.expected_cost,
            "loss": self.loss,
            "n": len(self.targets),
            "calibration_error": self.calibration()[1],
            "per_class": self.per_class(),
            "findings": [finding.as_dict() for finding in self.findings],
        }


def evaluate_split(
    predictor: Predictor, dataset: Dataset, name: str, batch_size: int = 256
) -> Evaluation | NumberEvaluation:
    """Run a net over a split of a data set, in its own order.

    Args:
        predictor: the net.
        dataset: images with their targets, of the net's signature.
        name: of the split.
        batch_size: images at a time.

    Raises:
        UserError: if the data set has no such split.
    """
    split = dataset.split(name)
    if split is None:
        raise UserError(f"there are no {name} images to evaluate")
    streams = split.store.stream(torch.split(split.rows, batch_size))
    outputs = torch.cat([predictor.outputs(pixels) for pixels in streams])
    refuse_nonfinite(outputs.numpy())
    encoding = predictor.encoding
    if encoding is None:
        return Evaluation(
            name,
            predictor.classes,
            outputs.softmax(1).numpy(),
            split.targets.numpy(),
            costs=predictor.costs.numpy() if predictor.costs is not None else None,
            image_costs=split.costs.double().numpy() if split.costs is not None else None,
        )
    values = dataset.values(name)
    true = values if encoding.numeric else encoding.encode(values).double()
    found = encoding.decode(outputs)
    divergences = modes = None
    if encoding.kind == "distribution":
        shares = encoding.encode(values).double()
        divergences = rel_entr(shares.numpy(), outputs.softmax(1).numpy()).sum(1)
        # one distribution for each of several numbers
        each = (len(values), len(predictor.columns) if encoding.numeric else 1, -1)
        modes = (outputs.view(each).argmax(2) == shares.view(each).argmax(2)).all(1).numpy()
    return NumberEvaluation(
        split=name,
        columns=predictor.columns,
        predicted=found.numpy(),
        targets=true.numpy(),
        errors=encoding.error(found, true).numpy(),
        divergences=divergences,
        modes=modes,
        numeric=encoding.numeric,
    )
