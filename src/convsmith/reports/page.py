"""A run's report: one HTML file without external resources."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from convsmith import recipe as recipes
from convsmith.advice.curves import diagnose
from convsmith.advice.evidence import gather
from convsmith.data import atomic
from convsmith.data.opening import opened, stream
from convsmith.data.picture import decode
from convsmith.data.quiet import quiet
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.inference.evaluation import Evaluation
from convsmith.inference.model_file import load
from convsmith.inference.number_evaluation import NumberEvaluation
from convsmith.reports import plots
from convsmith.reports.fill import fill
from convsmith.run.best import WORDS, column
from convsmith.run.best import best as best_of
from convsmith.run.directory import RunDirectory

MISTAKES = 12
MATRIX_CLASSES = 40
SCATTERS = 12
MEASURES = {"accuracy": "accuracy", "mae": "mean absolute error", "kl": "KL divergence"}


def write(run: RunDirectory, evaluation: Evaluation | NumberEvaluation, files: Sequence[Path]) -> None:
    """Write ``report.html``.

    Args:
        run: whose metrics, data and recipe are shown.
        evaluation: on the run's test split (else val).
        files: the evaluated images, in the evaluation's order.

    Raises:
        UserError: if the run has no finished epoch yet.
    """
    rows = run.read_metrics()
    if not rows:
        raise UserError(f"{shown(run.path)} has no finished epoch to report")
    atomic.write(run.report, render(run, rows, evaluation, files))


def render(
    run: RunDirectory,
    rows: list[dict[str, float]],
    evaluation: Evaluation | NumberEvaluation,
    files: Sequence[Path],
) -> str:
    measure = next(name for name in MEASURES if f"val_{name}" in rows[0])
    judge = chosen_by(recipes.load(run.recipe).train.choose_by, rows)
    best = best_of(rows, judge)
    epoch = int(best["epoch"])
    # Row 0 is of a classifier that was solved before anything was trained.
    trained = [row for row in rows if row["epoch"] >= 1]
    loss = {"train_loss": "train", "val_loss": "val"}
    figure = {f"train_{measure}": "train", f"val_{measure}": "val"}
    findings = diagnosis(run)
    marks = [(*finding.epochs, words(finding)) for finding in findings if finding.epochs]
    if isinstance(evaluation, NumberEvaluation):
        template, own = "numbers.html", _numbers(evaluation, files)
    else:
        template, own = "classes.html", _classes(evaluation, files)
    return fill(
        template,
        **own,
        name=shown(run.path.absolute().name),
        evaluation=evaluation,
        measure=measure,
        best=best,
        kept=_kept(epoch, len(trained), judge, best),
        terms=_terms(trained, best, measure) if trained else [],
        curves=[
            Markup(plots.curve(rows, loss, "loss", best=epoch, log=True, marks=marks)),
            Markup(plots.curve(rows, figure, MEASURES[measure], best=epoch)),
            Markup(plots.curve(trained, {"lr": "learning rate"}, "learning rate", best=epoch)),
        ]
        if trained
        else [],
        diagnosis=[(words(finding), finding) for finding in findings],
        inspection=Markup(_inspection(run)),
        data=run.read_json(run.data),
        recipe=run.recipe.read_text(encoding="utf-8"),
        environment=run.read_json(run.environment),
        parameters=_parameters(run),
    )


def chosen_by(wanted: str | None, rows: Sequence[Mapping[str, float]]) -> str:
    """The figure by which a run has chosen its epoch; runs of earlier versions chose by their measure."""
    if wanted is not None and all(column(wanted) in row for row in rows):
        return wanted
    return next(name for name in MEASURES if f"val_{name}" in rows[0])


def _kept(epoch: int, epochs: int, judge: str, best: Mapping[str, float]) -> str:
    if not epochs:
        return "classifier solved, nothing trained"
    value = best[column(judge)]
    figure = f"{100 * value:.2f}%" if judge in ("accuracy", "balanced_accuracy") else f"{value:.4g}"
    return f"best epoch {epoch} of {epochs} (val {WORDS[judge]} {figure})"


def diagnosis(run: RunDirectory) -> list[Finding]:
    """Diagnose a run's curves; old runs without ``steps.csv`` give no findings."""
    return diagnose(gather(run)) if run.steps.exists() else []


def words(finding: Finding) -> str:
    """A finding's name for people."""
    return finding.name.replace("_", " ")


def _inspection(run: RunDirectory) -> str:
    """Read the part that ``inspect`` wrote; empty if there is none."""
    return run.inspection.read_text(encoding="utf-8") if run.inspection.exists() else ""


def _terms(
    rows: list[dict[str, float]], best: dict[str, float], measure: str
) -> list[tuple[str, float, float, float]]:
    """Every term and regularizer by name: in the first, the best and the last epoch."""
    rest = {"train_loss", f"train_{measure}"}
    names = [name for name in rows[0] if name.startswith("train_") and name not in rest]
    return [
        (name.removeprefix("train_"), rows[0][name], best.get(name, math.nan), rows[-1][name])
        for name in names
    ]


def _classes(evaluation: Evaluation, files: Sequence[Path]) -> dict[str, Any]:
    few = len(evaluation.classes) <= MATRIX_CLASSES
    return {
        "calibration_error": evaluation.calibration()[1],
        "confusion": Markup(plots.confusion(evaluation)) if few else None,
        "confused": _confused(evaluation),
        "calibration": Markup(plots.calibration(evaluation)),
        "per_class": sorted(evaluation.per_class().items(), key=lambda item: item[1]["recall"]),
        "mistakes": [_mistake(evaluation, row, files[row]) for row in evaluation.mistakes(MISTAKES)],
    }


def _numbers(evaluation: NumberEvaluation, files: Sequence[Path]) -> dict[str, Any]:
    mistakes = [
        {
            "picture": _picture(files[row]),
            "file": shown(Path(files[row].parent.name, files[row].name)),
            "numbers": list(zip(evaluation.columns, evaluation.predicted[row], evaluation.targets[row])),
        }
        for row in evaluation.mistakes(MISTAKES)
    ]
    columns = range(min(len(evaluation.columns), SCATTERS))
    headline = evaluation.headline
    return {
        "headline": headline[0].upper() + headline[1:],
        "scatter": [Markup(plots.scatter(evaluation, column)) for column in columns],
        "mistakes": mistakes,
    }


def _confused(evaluation: Evaluation, count: int = 10) -> list[tuple[str, str, int]]:
    """The most frequent confusions (true, predicted, images)."""
    table = evaluation.confusion
    pairs = [
        (evaluation.classes[row], evaluation.classes[column], int(table[row, column]))
        for row in range(len(table))
        for column in range(len(table))
        if row != column and table[row, column]
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]


def _mistake(evaluation: Evaluation, row: int, file: Path) -> dict[str, Any]:
    probabilities = evaluation.probabilities[row]
    return {
        "picture": _picture(file),
        "file": shown(Path(file.parent.name, file.name)),
        "true": evaluation.classes[evaluation.targets[row]],
        "predicted": evaluation.classes[evaluation.predicted[row]],
        "probability": float(probabilities.max()),
        "of_true": float(probabilities[evaluation.targets[row]]),
    }


def _picture(file: Path, side: int = 96) -> str:
    """A small PNG as a data URL; empty if the file has gone since."""
    try:
        with quiet, stream(file) as content:
            width, height = opened(content).size
        # A strip is shown whole; of photographs the middle tells more.
        strip = max(width, height) > 2 * min(width, height)
        small = min(side, max(width, height) if strip else min(width, height))
        pixels = decode(file, small, 3, "pad" if strip else "crop", None)
    except Exception:  # it has gone or changed since; Pillow raises anything on damaged data
        return ""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _parameters(run: RunDirectory) -> int:
    return sum(parameter.numel() for parameter in load(run.path).model.parameters())
