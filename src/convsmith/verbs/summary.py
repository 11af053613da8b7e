"""The verb that lists a net's layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from convsmith import catalog
from convsmith.errors import UserError, expect
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.nn.summary import Summary, summarize

Shape = tuple[int, int, int]
# Image shape for a net by name, if none is given.
SHAPE: Shape = (3, 32, 32)


def summary(model: Any, shape: Shape | None = None, num_classes: int = 10) -> Summary:
    """Layers, output shapes, receptive fields, parameters and multiply-accumulates of a net.

    Args:
        model: a run, model folder or weight file, what :func:`convsmith.load` gives, a torch module, or the
            name of a net in the catalogue.
        shape: of an image, (C, H, W); None takes that of the run, for a net by name 3 x 32 x 32.
        num_classes: of a net by name.

    Raises:
        UserError: if there is no such net, or it can't take such images.
    """
    net, shape = _net(model, shape, num_classes)
    try:
        return summarize(net, shape)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        sides = "x".join(map(str, shape))
        raise UserError(f"{_name(model)} can't take images of {sides}: {first}") from None


def _net(model: Any, shape: Shape | None, num_classes: int) -> tuple[nn.Module, Shape]:
    if isinstance(model, nn.Module):
        if shape is None:
            raise UserError("say for which images: summary(module, (channels, height, width))")
        return model, shape
    if not isinstance(model, Predictor):
        expect("model", model, (str, os.PathLike), "a name in the catalogue, a torch module or a run")
    place = Path(model).expanduser() if not isinstance(model, Predictor) else None
    if place is not None and not place.exists():
        shape = shape or SHAPE
        name = str(model)
        if catalog.base_name(name) not in catalog.names("model") and ("/" in name or "." in name):
            raise UserError(f"there is no run or model file {name}, and no net is called so")
        given = {"num_classes": num_classes, "in_channels": shape[0], "size": shape[1]}
        return catalog.build("model", name, **given), shape
    predictor = model if isinstance(model, Predictor) else load(model)
    return predictor.pipeline.model, shape or (predictor.channels, predictor.size, predictor.size)


def _name(model: Any) -> str:
    return str(model) if isinstance(model, str | Path) else type(model).__name__
