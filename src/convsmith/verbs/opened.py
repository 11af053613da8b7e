"""The model that a user names, opened once for every verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convsmith.errors import UserError
from convsmith.inference.device import pick_device
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.objectives.costs import checked, read_table
from convsmith.run.directory import RunDirectory

# A run, model folder or weight file by its place, a run as `train` gives it, or an opened model.
Model = Any


def opened_model(model: Model, costs: str | Path | None = None, device: str = "auto") -> Predictor:
    """The net, on its device, deciding by ``costs`` if they are given.

    Raises:
        UserError: if there is no such model, or the costs don't fit it.
    """
    predictor = model if isinstance(model, Predictor) else load(model)
    predictor.to(pick_device(device))
    if costs is not None:
        if predictor.encoding is not None:
            raise UserError("costs are for classes; this model predicts numbers")
        predictor.costs = checked(read_table(costs, predictor.classes), predictor.classes)
    return predictor


def run_of(model: Model) -> RunDirectory:
    """The run that a place is, or that it is a file of.

    Raises:
        UserError: for an opened model, which knows no run.
    """
    if isinstance(model, Predictor):
        raise UserError("this looks at a run's own images; name the run in the place of an opened model")
    return RunDirectory.of(model)
