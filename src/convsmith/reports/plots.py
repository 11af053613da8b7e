"""The report's pictures, each as inline SVG."""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from convsmith.advice.learning_rate import Sweep
from convsmith.inference.evaluation import Evaluation
from convsmith.inference.number_evaluation import NumberEvaluation

BLUE, ORANGE, GREY = "#1f6feb", "#d9480f", "#6b7280"
# Of several runs; told apart with any of the usual color blindnesses (Okabe & Ito 2008).
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $x$
    "svg.hashsalt": "convsmith",  # the same run gives the same bytes
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
}
Row = Mapping[str, float]


def _letters(name: str) -> str:
    """A name as matplotlib draws it as it is: dollars are no formula, and not all bytes are letters."""
    return name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def _svg(figure: Figure, label: str) -> str:
    text = io.StringIO()
    with warnings.catch_warnings():
        # The browser draws the letters, with fonts that matplotlib may not have.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


def _axes(width: float = 5.2, height: float = 3.2) -> tuple[Figure, Any]:
    # Constrained rather than cut to fit: curves side by side keep one size.
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def curve(
    rows: Sequence[Row],
    columns: Mapping[str, str],
    title: str,
    *,
    best: int,
    log: bool = False,
    marks: Sequence[tuple[int, int, str]] = (),
) -> str:
    """Columns of metrics.csv by epoch; a thin line marks the best epoch, and a band each of ``marks`` (first
    epoch, last epoch, name of the finding)."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        epochs = [row["epoch"] for row in rows]
        for (column, label), color in zip(columns.items(), (BLUE, ORANGE)):
            line = [row[column] for row in rows]
            marker = "o" if len(rows) < 15 else None
            axes.plot(epochs, line, color=color, label=label, marker=marker, markersize=3.5, linewidth=1.8)
        axes.axvline(best, color=GREY, linewidth=0.8, linestyle=":")
        for height, (first, last, name) in enumerate(marks):
            axes.axvspan(first - 0.3, last + 0.3, color=ORANGE, alpha=0.09, linewidth=0)
            place = (max(first, 1), 0.02 + 0.08 * height)
            axes.annotate(name, place, xycoords=("data", "axes fraction"), fontsize=8, color=ORANGE)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        values = [row[column] for row in rows for column in columns]
        # Over a narrow range a logarithmic axis has one label, or none.
        if log and max(values) > 5 * min(values) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        if len(columns) > 1:
            axes.legend(frameon=False)
        return _svg(figure, title)


def side_by_side(runs: Mapping[str, Sequence[Row]], column: str, title: str) -> str:
    """One column of metrics.csv by epoch, a line for each run."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes()
        for (name, rows), color in zip(runs.items(), cycle(LINES)):
            marker = "o" if len(rows) < 15 else None
            axes.plot(
                [row["epoch"] for row in rows],
                [row[column] for row in rows],
                color=color,
                label=_letters(name),
                marker=marker,
                markersize=3.5,
                linewidth=1.6,
            )
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        return _svg(figure, title)


def sweep(found: Sweep) -> str:
    """The loss by the learning rate, and the rate proposed."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(7.6, 4.0)
        axes.plot(found.rates, found.losses, color=GREY, linewidth=0.8, alpha=0.6, label="each batch")
        axes.plot(found.rates, found.smooth, color=BLUE, linewidth=1.8, label="smoothed")
        axes.axvline(found.proposal, color=ORANGE, linewidth=1.4, label=f"proposal: {found.proposal:g}")
        low, high = min(found.smooth), found.smooth[0]
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        # The explosion at the end would flatten what matters.
        axes.set_ylim(low - 0.1 * (high - low), high + 0.6 * max(high - low, 0.1))
        axes.legend(frameon=False, loc="upper left")
        return _svg(figure, "loss by learning rate")


def confusion(evaluation: Evaluation) -> str:
    """Shares of each true class's images, with the counts in the cells where they fit."""
    counts = evaluation.confusion
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = len(counts)
    side = min(9.0, max(3.6, 0.52 * classes + 1.4))
    with mpl.rc_context(STYLE):
        figure, axes = _axes(side, side)
        axes.grid(visible=False)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if classes <= 20:
            for row, column in zip(*np.nonzero(counts)):
                color = "white" if share[row, column] > 0.5 else "black"
                text = str(counts[row, column])
                axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
        names = [_letters(name) for name in evaluation.classes]
        axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(classes), names, fontsize=8)
        axes.set(xlabel="predicted", ylabel="true")
        return _svg(figure, "confusion matrix")


def calibration(evaluation: Evaluation) -> str:
    """Accuracy against confidence; the diagonal is a net that knows what it knows."""
    rows, _ = evaluation.calibration()
    confidence, accuracy, count = zip(*rows)
    with mpl.rc_context(STYLE):
        figure, axes = _axes(3.8, 3.6)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        axes.scatter(
            confidence, accuracy, s=[12 + 150 * n / sum(count) for n in count], color=BLUE, alpha=0.8
        )
        axes.plot(confidence, accuracy, color=BLUE, linewidth=1)
        axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.04), ylim=(0, 1.04))
        return _svg(figure, "calibration")


def shares(values: Mapping[str, float]) -> str:
    """A bar from 0 to 100% for each name, the first on top."""
    names = list(values)
    with mpl.rc_context(STYLE):
        figure, axes = _axes(5.2, max(1.6, 0.24 * len(names) + 0.8))
        axes.grid(visible=False, axis="y")
        axes.barh(range(len(names)), [100 * values[name] for name in names], color=BLUE, height=0.7)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set(xlim=(0, 100), xlabel="% of responses that are cut off to zero")
        axes.invert_yaxis()
        return _svg(figure, "share of zero responses by layer")


def scatter(evaluation: NumberEvaluation, column: int) -> str:
    """Predicted against true values of one target; the diagonal is a net that knows them."""
    true, error = evaluation.targets[:, column], evaluation.errors[:, column]
    # On a circle the short way round, so that 359 and 1 lie side by side.
    found = true + error
    low, high = min(true.min(), found.min()), max(true.max(), found.max())
    with mpl.rc_context(STYLE):
        figure, axes = _axes(4.4, 4.0)
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle=":")
        opacity = min(0.8, max(0.08, 150 / len(true)))
        axes.scatter(true, found, s=10, color=BLUE, alpha=opacity, linewidths=0)
        axes.set(xlabel="true", ylabel="predicted", title=_letters(evaluation.columns[column]))
        return _svg(figure, f"{evaluation.columns[column]}: predicted against true")
