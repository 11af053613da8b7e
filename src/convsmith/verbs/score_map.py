"""The verb that shows where in pictures a net sees their classes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.errors import UserError
from convsmith.inference.score_map import ScoreMap, Slider
from convsmith.verbs.disk import disk_errors, new_folder, save
from convsmith.verbs.opened import Model, opened_model
from convsmith.verbs.pictures import pictures


def score_map(
    model: Model,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    side: int | None = None,
    costs: str | Path | None = None,
    device: str = "auto",
    leave_out: bool = False,
) -> list[dict[str, Any]]:
    """Slide a classifier over whole pictures, and write for each where it sees which class.

    ``NAME.npz`` has ``scores`` (K, h, w) float32, at each place the probabilities of the classes, ``classes``
    (K,), and where the places are: ``centers_y`` (h,) and ``centers_x`` (w,) in pixels of the file's picture,
    upright, ``window``, the side of what a place looks at, in the same pixels. ``NAME.png`` shows the
    likeliest class over the picture.

    Args:
        model: run, model folder, weight file, or what :func:`convsmith.load` gives.
        images: files, or one.
        out: a new or an empty folder.
        side: to which a picture's shorter side is brought, in pixels; None leaves it, but for at least the
            side that the net was trained on and at most twice that.
        costs: CSV of what mistakes cost, true class by row, as for :func:`convsmith.predict`.
        device: auto, cpu or cuda.
        leave_out: whether images that can't be read leave the others their maps: theirs is an ``error``.

    Returns:
        for each image ``file``, and ``error`` if it can't be read; else ``label`` (what is decided for over
        the whole picture), its largest
        ``probability`` and where that is, ``place`` (x, y) in pixels of the file's picture; ``shape`` (h, w),
        ``npz``, ``png``.

    Raises:
        UserError: if the model's net can't slide, its targets are numbers, ``out`` is there already, or can't
            be written, or, unless ``leave_out``, an image can't be read.
    """
    place = new_folder(out)
    files = pictures(images)
    predictor = opened_model(model, costs, device)
    slider = Slider(predictor)
    rows: list[dict[str, Any]] = []
    for file, name in zip(files, _names(files)):
        try:
            found = slider.over(file, side)
        except UserError as error:
            if not leave_out:
                raise
            rows.append({"file": str(file), "error": str(error)})
            continue
        with disk_errors(place, "try again"):
            place.mkdir(parents=True, exist_ok=True)
        save(place / f"{name}.npz", _packed(found, predictor.classes))
        save(place / f"{name}.png", _picture(found, predictor.classes))
        own, row, column = found.best
        y, x = found.center(row, column)
        rows.append(
            {
                "file": str(file),
                "label": predictor.classes[own],
                "probability": float(found.scores[own, row, column]),
                "place": [x, y],
                "shape": list(found.scores.shape[1:]),
                "npz": str(place / f"{name}.npz"),
                "png": str(place / f"{name}.png"),
            }
        )
    return rows


def _names(files: Sequence[str | Path]) -> list[str]:
    """The files' names without their ends; numbered where two would be the same, on any file system.

    >>> _names(["a/x.png", "b/x.png", "x-1.png", "y.png"])
    ['x-2', 'x-3', 'x-1', 'y']
    """
    stems = [Path(file).stem for file in files]
    folded = [stem.casefold() for stem in stems]
    taken = {stem for stem in folded if folded.count(stem) == 1}
    found = []
    for stem, own in zip(stems, folded):
        number = 1
        while folded.count(own) > 1 and f"{own}-{number}" in taken:
            number += 1
        name = stem if folded.count(own) == 1 else f"{stem}-{number}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _packed(found: ScoreMap, classes: Sequence[str]) -> bytes:
    height, width = found.scores.shape[1:]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        scores=found.scores,
        classes=np.array(classes),
        centers_y=np.array([found.center(row, 0)[0] for row in range(height)]),
        centers_x=np.array([found.center(0, column)[1] for column in range(width)]),
        window=np.array(found.window * found.scale),
    )
    return content.getvalue()


def _picture(found: ScoreMap, classes: Sequence[str]) -> bytes:
    from convsmith.reports.score_map import drawn

    return drawn(found, classes[found.best[0]])
