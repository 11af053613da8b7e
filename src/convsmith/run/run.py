"""The result of a training: a mapping of its figures, which a notebook shows as a table and a curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convsmith.inference.cells import table
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.run.directory import RunDirectory

# Figures that are shown first, in this order.
SHOWN = ("accuracy", "mae", "rmse", "kl", "loss", "split", "best_epoch", "epochs", "parameters", "seconds")


class Run(Mapping[str, Any]):
    """A finished run: its figures by name, its folder, its net and its report.

    >>> run = Run({"run": "runs/first", "accuracy": 0.97, "split": "test"})
    >>> run["accuracy"], run.path.name
    (0.97, 'first')
    """

    def __init__(self, figures: Mapping[str, Any]) -> None:
        self.figures = dict(figures)

    def __getitem__(self, key: str) -> Any:
        return self.figures[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.figures)

    def __len__(self) -> int:
        return len(self.figures)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return Path(self.figures["run"])

    @property
    def report(self) -> Path:
        """The run's page."""
        return Path(RunDirectory(self.path).report)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """A row for each epoch, as in ``metrics.csv``; ``pandas.DataFrame(run.metrics)`` is a table."""
        return RunDirectory(self.path).read_metrics()

    def model(self) -> Predictor:
        """The net of the best epoch.

        Raises:
            UserError: if its file is missing or damaged.
        """
        return load(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        figures = ", ".join(f"{key} {_short(self[key])}" for key in SHOWN if key in self)
        return f"Run {self.path}" + (f": {figures}" if figures else "")

    def _repr_html_(self) -> str:
        rows = [[key, _short(self[key])] for key in SHOWN if key in self]
        return table([str(self.path), ""], rows) + self._curve()

    def _curve(self) -> str:
        """Draw the losses by epoch as an SVG."""
        rows = self.metrics
        if len(rows) < 2:
            return ""
        values = [row[key] for row in rows for key in ("train_loss", "val_loss")]
        low, span = min(values), (max(values) - min(values)) or 1.0
        lines = ""
        for key, color in (("train_loss", "#1f6feb"), ("val_loss", "#d9480f")):
            points = " ".join(
                f"{8 + 284 * number / (len(rows) - 1):.1f},{92 - 84 * (row[key] - low) / span:.1f}"
                for number, row in enumerate(rows)
            )
            lines += f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='1.8'/>"
        return (
            f"<svg width='300' height='100' role='img' aria-label='loss by epoch'>{lines}</svg>"
            f"<div><small>loss by epoch: <span style='color:#1f6feb'>train</span>, "
            f"<span style='color:#d9480f'>val</span></small></div>"
        )


def _short(value: Any) -> str:
    return (
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
