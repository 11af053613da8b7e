"""The net that a training starts from: fresh, another run's, a weight file's, or timm's pretrained one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from torch import nn

from convsmith import catalog
from convsmith.data.dataset import Dataset
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.models.torchvision_names import renamed
from convsmith.nn.swap import Kind
from convsmith.recipe import Recipe, Section
from convsmith.run.directory import RunDirectory
from convsmith.run.predictor import tensors_of

SWAPS: tuple[str, ...] = get_args(Kind)


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
        changed = {kind: ("timm's", arguments[kind]) for kind in SWAPS if arguments.get(kind) is not None}
        return build({name: {**arguments, "pretrained": True}}, dataset), _swapped(changed)
    model = build(recipe.model, dataset)
    place = Path(source).expanduser()
    if not place.exists():
        raise UserError(f"--from {shown(source)}: there is no such run or file")
    tensors = tensors_of(RunDirectory(place).weights if place.is_dir() else place)
    changed = _changes(place, recipe.model)
    return model, [*_copy(tensors, model, source, grown=bool(changed)), *_swapped(changed)]


def _changes(place: Path, spec: Section) -> dict[str, tuple[Any, Any]]:
    """Which kinds of layers differ between the net that a run holds and the recipe's."""
    run = RunDirectory(place if place.is_dir() else place.parent)
    if not run.model.exists():
        return {}
    before_name, before = catalog.split("model", run.read_json(run.model)["model"])
    name, now = catalog.split("model", spec)
    if name != before_name:
        return {}
    usual = inspect.signature(catalog.load("model", catalog.base_name(name))).parameters
    both = {
        kind: tuple(arguments.get(kind, usual[kind].default) for arguments in (before, now))
        for kind in SWAPS
        if kind in usual
    }
    return {kind: (old, new) for kind, (old, new) in both.items() if old != new}


def _swapped(changed: Mapping[str, tuple[Any, Any]]) -> list[Finding]:
    """What it does to trained weights that the layers between them are others now."""
    consequences = {
        "activation": "the weights were learned for another response: accuracy starts low and comes back "
        "with training, sooner the more alike the two functions are",
        "norm": "scales and shifts go over where both have them, running statistics don't: the first epochs "
        "find the new statistics",
        "pooling": "the weights after it see values of another size: a mean is smaller than a maximum, a "
        "p-norm larger",
    }
    return [
        Finding(
            seen=f"the pretrained net's {kind} is exchanged: {old} for {new}",
            means=consequences[kind],
            change=f"train all layers, not only the last; leave model.{kind} out to keep the net as it was",
            why="trained weights fit the layers that they were trained with",
            source="Yosinski et al. 2014, on co-adapted layers",
        )
        for kind, (old, new) in changed.items()
    ]


def _copy(tensors: dict[str, Any], model: nn.Module, source: str, *, grown: bool = False) -> list[Finding]:
    """Take over the weights that fit; the head may be of another size, and where layers were exchanged
    (``grown``), the new ones may have weights that the source lacks."""
    if any(key.startswith("normalizer.") for key in tensors):  # one of our own files
        tensors = {key.removeprefix("model."): v for key, v in tensors.items() if key.startswith("model.")}
    tensors = renamed(tensors, model)
    own = model.state_dict()
    fitting = {key: v for key, v in tensors.items() if key in own and own[key].shape == v.shape}
    head = {id(p) for p in model.get_classifier().parameters()}  # type: ignore[operator]
    fresh = [key for key, p in model.named_parameters() if key not in fitting]
    new_head = [key for key, p in model.named_parameters() if key in fresh and id(p) in head]
    strange = [key for key in fresh if key not in new_head and not (grown and key not in tensors)]
    if strange:
        raise UserError(
            f"--from {shown(source)} doesn't fit this net: {strange[0]} is missing or of another shape"
        )
    model.load_state_dict({**own, **fitting})
    if not new_head:
        return []
    return [
        Finding(
            seen=f"the head ({', '.join(new_head)}) is new; all other weights are those of {shown(source)}",
            means="the classes differ in number",
            why="a head belongs to its classes",
            source="Yosinski et al. 2014",
        )
    ]
