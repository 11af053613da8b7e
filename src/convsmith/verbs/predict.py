"""The verb that classifies images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith.inference.predictor import Picture
from convsmith.verbs.opened import Model, opened_model


def predict(
    model: Model,
    images: Picture | Sequence[Picture],
    *,
    top: int = 5,
    costs: str | Path | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """For each image its label, probability and ``top`` classes; ``costs`` as in :func:`convsmith.evaluate`.

    Args:
        model: run, model folder, weight file, or what :func:`convsmith.load` gives.
        images: files, arrays or Pillow's pictures, or one of them.
        top: classes listed for each.
        costs: CSV of what mistakes cost, true class by row.
        device: auto, cpu or cuda.

    Raises:
        UserError: if the model or an image can't be read.
    """
    return opened_model(model, costs, device).predict(images, top=top)
