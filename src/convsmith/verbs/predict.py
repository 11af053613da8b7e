"""The verb that classifies images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith.inference.predictor import Picture
from convsmith.verbs.opened import Model, opened_model
from convsmith.verbs.pictures import pictures


def predict(
    model: Model,
    images: Picture | Sequence[Picture],
    *,
    top: int = 5,
    costs: str | Path | None = None,
    device: str = "auto",
    leave_out: bool = False,
) -> list[dict[str, Any]]:
    """For each image its label, probability and ``top`` classes; ``costs`` as in :func:`convsmith.evaluate`.

    Args:
        model: run, model folder, weight file, or what :func:`convsmith.load` gives.
        images: files, folders, patterns such as ``"photos/*.jpg"``, arrays, Pillow's pictures, or one of
            them.
        top: classes listed for each.
        costs: CSV of what mistakes cost, true class by row.
        device: auto, cpu or cuda.
        leave_out: whether images that can't be read leave the others their answers: theirs is an ``error``.

    Raises:
        UserError: if the model or, unless ``leave_out``, an image can't be read.
    """
    return opened_model(model, costs, device).predict(pictures(images), top=top, leave_out=leave_out)
