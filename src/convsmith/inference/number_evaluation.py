"""How well a trained net does on a split whose targets are numbers or distributions."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convsmith.findings import Finding
from convsmith.inference import intervals
from convsmith.inference.cells import table

Floats = npt.NDArray[np.float64]


def chosen_on_them(chosen_by: str | None) -> str:
    """What is to be said of a figure of images on which the kept epoch was chosen."""
    return "" if chosen_by is None else ", on which the epoch was chosen"


@dataclass(frozen=True, repr=False)
class NumberEvaluation:
    """Predicted and true targets (N, T) of a split in the targets' units, and the figures drawn from them.

    For distributions ``divergences`` hold KL(true || predicted) of each image, (N,), and ``modes`` whether
    the likeliest class is the same; where the distribution stands for no number (votes), predicted and
    true are the shares themselves, (N, K). ``chosen_by`` is as for classes.
    """

    split: str
    columns: list[str]
    predicted: Floats
    targets: Floats
    errors: Floats
    divergences: Floats | None = None
    modes: npt.NDArray[np.bool_] | None = None
    numeric: bool = True
    findings: Sequence[Finding] = ()
    chosen_by: str | None = None

    def __repr__(self) -> str:
        return f"NumberEvaluation: {self.result}"

    def _repr_html_(self) -> str:
        """The headline, and a row for each target."""
        words = f"<p>{html.escape(self.result)}</p>"
        if not self.numeric:
            return words
        keys = ("mae", "rmse", "median_absolute_error", "r2")
        cells = [[name, *(f"{row[key]:.4g}" for key in keys)] for name, row in self.per_column().items()]
        return words + table(["target", "MAE", "RMSE", "median error", "R²"], cells)

    @property
    def mae(self) -> float:
        """Mean absolute error over images and targets; around the circle for angles."""
        return float(np.abs(self.errors).mean())

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(np.square(self.errors).mean()))

    @property
    def kl(self) -> float | None:
        """Mean divergence, in nats; None where the targets are no distributions."""
        return None if self.divergences is None else float(self.divergences.mean())

    def per_column(self) -> dict[str, dict[str, float]]:
        """MAE, RMSE, median absolute error and R^2 of each target.

        R^2 is 1 - sum(error^2) / sum((true - mean)^2); on a circle it says little.
        """
        table = {}
        for place, name in enumerate(self.columns):
            error, true = self.errors[:, place], self.targets[:, place]
            spread = float(np.square(true - true.mean()).sum())
            table[name] = {
                "mae": float(np.abs(error).mean()),
                "rmse": float(np.sqrt(np.square(error).mean())),
                "median_absolute_error": float(np.median(np.abs(error))),
                "r2": 1 - float(np.square(error).sum()) / spread if spread else 0.0,
            }
        return table

    def mistakes(self, count: int) -> list[int]:
        """Rows of the largest errors, in the targets' spreads (of the largest divergences for votes)."""
        if self.divergences is not None and not self.numeric:
            size = self.divergences
        else:
            scale = np.maximum(self.targets.std(0), np.finfo(np.float64).tiny)
            size = np.abs(self.errors / scale).max(1)
        return [int(row) for row in np.argsort(-size, kind="stable")[:count]]

    def summary(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"split": self.split, "n": len(self.targets)}
        if self.numeric:
            figures |= {"mae": self.mae, "rmse": self.rmse, "per_target": self.per_column()}
            figures["interval"] = list(intervals.of_mean(np.abs(self.errors).mean(1)))
        if self.divergences is not None and self.modes is not None:
            figures |= {"kl": self.kl, "accuracy": float(self.modes.mean())}
            if not self.numeric:
                figures["interval"] = list(intervals.of_mean(self.divergences))
        figures["chosen_by"] = self.chosen_by
        return {**figures, "findings": [finding.as_dict() for finding in self.findings]}

    @property
    def result(self) -> str:
        """The headline, on which images, and whether they have chosen the epoch."""
        return f"{self.headline} on {len(self.targets):,} {self.split} images{chosen_on_them(self.chosen_by)}"

    @property
    def headline(self) -> str:
        """The result in a few words."""
        words = []
        if self.numeric:
            low, high = intervals.of_mean(np.abs(self.errors).mean(1))
            words = [f"mean absolute error {self.mae:.4g} ({low:.4g} to {high:.4g})", f"RMSE {self.rmse:.4g}"]
        if self.divergences is not None and self.modes is not None:
            low, high = intervals.of_mean(self.divergences)
            between = "" if self.numeric else f" ({low:.4f} to {high:.4f})"
            words += [
                f"KL divergence {self.kl:.4f}{between}",
                f"likeliest class right {100 * self.modes.mean():.2f}%",
            ]
        return ", ".join(words)
