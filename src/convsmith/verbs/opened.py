"""Opening the model that the user names, for all verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convsmith.errors import UserError
from convsmith.inference.allocator import keep_freed_memory
from convsmith.inference.device import pick_device
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.objectives.costs import checked, read_table
from convsmith.run.directory import RunDirectory

# A run, model folder or weight file by its place, a run as `train` gives it, or an opened model.
Model = Any


def opened_model(model: Model, costs: str | Path | None = None, device: str = "auto") -> Predictor:
    """Open the model on its device; with ``costs`` it decides by expected cost.

    Raises:
        UserError: if there is no such model, or the costs don't fit it.
    """
    predictor = model if isinstance(model, Predictor) else load(model)
    place = pick_device(device)
    if place == "cpu":
        keep_freed_memory()
    predictor.to(place)
    if costs is not None:
        if predictor.encoding is not None:
            raise UserError("costs are for classes; this model predicts numbers")
        predictor.costs = checked(read_table(costs, predictor.classes), predictor.classes)
    return predictor


def run_of(model: Model) -> RunDirectory:
    """Find the run of a folder or of a file in it.

    Raises:
        UserError: for an opened model, which knows no run.
    """
    if isinstance(model, Predictor):
        raise UserError("this looks at a run's own images; name the run in the place of an opened model")
    return RunDirectory.of(model)
