"""The net that a training starts from: fresh, another run's, a weight file's, or timm's pretrained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from convsmith import catalog
from convsmith.data.dataset import Dataset
from convsmith.data.layout import shown
from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.recipe import Recipe, Section
from convsmith.run.directory import RunDirectory
from convsmith.run.predictor import tensors_of


def architecture(recipe: Recipe) -> Section | None:
    """The model that ``train.start_from`` implies where the recipe names none."""
    source = recipe.train.start_from
    if recipe.model is not None or source is None:
        return recipe.model
    if source.startswith("timm:"):
        return source
    place = Path(source).expanduser()
    run = RunDirectory(place if place.is_dir() else place.parent)
    if not run.model.exists():
        raise UserError(
            f"--from {shown(source)}: there is no model.json beside it; name the net with --model"
        )
    found: Section = run.read_json(run.model)["model"]
    return found


def build(spec: Section, dataset: Dataset) -> nn.Module:
    """A fresh net for the data set's classes and images."""
    model: nn.Module = catalog.build(
        "model", spec, num_classes=len(dataset.classes), in_channels=dataset.channels, size=dataset.size
    )
    return model


def num_features(model: nn.Module) -> int:
    """D, the length of what the classifier reads; some of timm's nets widen it in the head."""
    return int(getattr(model, "head_hidden_size", 0) or getattr(model, "num_features", 0))


def initial(recipe: Recipe, dataset: Dataset) -> tuple[nn.Module, list[Finding]]:
    """The net with the weights that ``train.start_from`` names, if any.

    Raises:
        UserError: if the source is missing, damaged, or of another net.
    """
    assert recipe.model is not None
    source = recipe.train.start_from
    if source is None:
        return build(recipe.model, dataset), []
    if source.startswith("timm:"):
        name, arguments = catalog.split("model", recipe.model)
        if name != source:
            raise UserError(f"--from {source} has the weights of another net than --model {name}; name one")
        return build({name: {**arguments, "pretrained": True}}, dataset), []
    model = build(recipe.model, dataset)
    place = Path(source).expanduser()
    if not place.exists():
        raise UserError(f"--from {shown(source)}: there is no such run or file")
    tensors = tensors_of(RunDirectory(place).weights if place.is_dir() else place)
    return model, _copy(tensors, model, source)


def _copy(tensors: dict[str, Any], model: nn.Module, source: str) -> list[Finding]:
    if any(key.startswith("normalizer.") for key in tensors):  # one of our own files
        tensors = {key.removeprefix("model."): v for key, v in tensors.items() if key.startswith("model.")}
    own = model.state_dict()
    fitting = {key: v for key, v in tensors.items() if key in own and own[key].shape == v.shape}
    fresh = [key for key in own if key not in fitting]
    head = {id(p) for p in model.get_classifier().parameters()}  # type: ignore[operator]
    strange = [key for key, p in model.named_parameters() if key in fresh and id(p) not in head]
    if strange:
        raise UserError(
            f"--from {shown(source)} doesn't fit this net: {strange[0]} is missing or of another shape"
        )
    model.load_state_dict({**own, **fitting})
    if not fresh:
        return []
    return [
        Finding(
            seen=f"the head ({', '.join(fresh)}) is new; all other weights are those of {shown(source)}",
            means="the classes differ in number",
            why="a head belongs to its classes",
            source="Yosinski et al. 2014",
        )
    ]
