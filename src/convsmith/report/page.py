"""A run's report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from PIL import Image

import convsmith
from convsmith.data.layout import shown
from convsmith.data.pixels import decode
from convsmith.errors import UserError
from convsmith.report import plots
from convsmith.run import directory
from convsmith.run.directory import RunDirectory
from convsmith.run.evaluation import Evaluation
from convsmith.run.predictor import load

MISTAKES = 12
MATRIX_CLASSES = 40


def write(run: RunDirectory, evaluation: Evaluation, files: Sequence[Path]) -> None:
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
    directory.write(run.report, render(run, rows, evaluation, files))


def render(
    run: RunDirectory, rows: list[dict[str, float]], evaluation: Evaluation, files: Sequence[Path]
) -> str:
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    epoch = int(best["epoch"])
    loss = {"train_loss": "train", "val_loss": "val"}
    accuracy = {"train_accuracy": "train", "val_accuracy": "val"}
    environment = Environment(loader=PackageLoader("convsmith.report"), autoescape=select_autoescape())
    return environment.get_template("page.html").render(
        name=shown(run.path.absolute().name),
        evaluation=evaluation,
        calibration_error=evaluation.calibration()[1],
        best=best,
        epochs=len(rows),
        curves=[
            Markup(plots.curve(rows, loss, "loss", best=epoch, log=True)),
            Markup(plots.curve(rows, accuracy, "accuracy", best=epoch)),
            Markup(plots.curve(rows, {"lr": "learning rate"}, "learning rate", best=epoch)),
        ],
        confusion=Markup(plots.confusion(evaluation)) if len(evaluation.classes) <= MATRIX_CLASSES else None,
        confused=_confused(evaluation),
        calibration=Markup(plots.calibration(evaluation)),
        per_class=sorted(evaluation.per_class().items(), key=lambda item: item[1]["recall"]),
        mistakes=[_mistake(evaluation, row, files[row]) for row in evaluation.mistakes(MISTAKES)],
        data=run.read_json(run.data),
        recipe=run.recipe.read_text(encoding="utf-8"),
        environment=run.read_json(run.environment),
        parameters=_parameters(run),
        version=convsmith.__version__,
    )


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
        with Image.open(file) as image:
            small = min(side, *image.size)
        pixels = decode(file, small, 3)
    except OSError:
        return ""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _parameters(run: RunDirectory) -> int:
    return sum(parameter.numel() for parameter in load(run.path).model.parameters())
