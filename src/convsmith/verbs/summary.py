"""The verb that lists a net's layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from convsmith import catalog
from convsmith.errors import UserError, expect, shown
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.nn.summary import Summary, summarize
from convsmith.recipe import Recipe, Section
from convsmith.training.source import AS_IT_IS, architecture, section_of
from convsmith.verbs.words import Overrides, RecipeWords, recipe_of

Shape = tuple[int, int, int]
# Image shape for a net by name, if none is given.
SHAPE: Shape = (3, 32, 32)


def summary(
    model: Any = None,
    shape: Shape | None = None,
    num_classes: int | None = None,
    *,
    recipe: RecipeWords = None,
    set: Overrides = (),
) -> Summary:
    """Layers, output shapes, receptive fields, parameters and multiply-accumulates of a net.

    Args:
        model: a run, model folder or weight file, what :func:`convsmith.load` gives, a torch module, or the
            name of a net in the catalogue; None takes the net that the recipe names.
        shape: of an image, (C, H, W); None takes that of the run, for a net by name 3 channels and
            ``data.size``, else 32.
        num_classes: of a net by name; None takes 10.
        recipe: whose net and ``data.size`` are taken, as in :func:`convsmith.train`.
        set: overrides such as ``"model.vgg16.norm=batch"``. After a run or a file they change its net's
            options: what is counted is the net that they would make, for the run's classes and images.

    Raises:
        UserError: if there is no such net, it has no such option, or it can't take such images.

    >>> small = summary("resnet20", set="model.resnet20.width=8").parameters
    >>> small < summary("resnet20").parameters
    True
    """
    net, shape = _net(model, shape, num_classes, recipe, set)
    try:
        return summarize(net, shape)
    except RuntimeError as error:
        raise UserError(f"{_name(model)} can't take images of {_why(net, shape, str(error))}") from None


def _why(net: nn.Module, shape: Shape, error: str) -> str:
    """The images that a net can't take, and the reason."""
    sides = "x".join(map(str, shape))
    first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is not None and first.in_channels != shape[0]:
        own = "x".join(map(str, (first.in_channels, *shape[1:])))
        return f"{sides}: its first layer reads {first.in_channels} channels; give {own}"
    return f"{sides}: {error.splitlines()[0]}; give another height and width"


def _net(
    model: Any, shape: Shape | None, num_classes: int | None, recipe: RecipeWords, overrides: Overrides
) -> tuple[nn.Module, Shape]:
    if isinstance(model, nn.Module):
        if num_classes is not None:
            raise UserError("a module has its own outputs; leave out the number of classes")
        if recipe is not None or overrides:
            raise UserError("a module's layers are what they are; `set` and `recipe` go with a net by name")
        if shape is None:
            raise UserError("say for which images: summary(module, (channels, height, width))")
        return model, shape
    if not isinstance(model, Predictor):
        kinds = "a name in the catalogue, a torch module or a run"
        expect("model", model, (str, os.PathLike, type(None)), kinds)
        if model is None or not Path(model).expanduser().exists():
            return _by_name(model, shape, num_classes or 10, recipe, overrides)
    if num_classes is not None:
        raise UserError(f"{_name(model)} has its own classes; leave out the number of classes")
    if recipe is not None:
        raise UserError(f"{_name(model)} has a net already; name the run or a `recipe`, not both")
    predictor = model if isinstance(model, Predictor) else load(model)
    if overrides:
        return _changed(predictor, _name(model), shape, overrides)
    return predictor.pipeline.model, shape or (predictor.channels, predictor.size, predictor.size)


def _by_name(
    name: Any, shape: Shape | None, num_classes: int, recipe: RecipeWords, overrides: Overrides
) -> tuple[nn.Module, Shape]:
    """A fresh net of the catalogue, by its name or as a recipe has it."""
    # A whole section, as `model` takes it in a recipe, says all itself.
    words = name is not None and str(name).lstrip().startswith("{")
    if name is not None and not words:
        name = str(name)
        if catalog.base_name(name) not in catalog.names("model") and ("/" in name or "." in name):
            raise UserError(f"there is no run or model file {name}, and no net is called so")
    found = recipe_of(None, name, None, recipe, overrides)
    shape = shape or _pixels(found, SHAPE)
    section = architecture(found, shape[1])
    if section is None:
        raise UserError(
            "name what to list: a net (`cs.summary('resnet20')`), a run, a model file, or a `recipe` that "
            "has a model"
        )
    if section == AS_IT_IS:
        # Stored as data: no name would build it again.
        assert found.train.start_from is not None
        return load(found.train.start_from).pipeline.model, shape
    if name is not None and not words:
        _same(name, section)
    return _fresh(section, num_classes, shape), shape


def _changed(
    predictor: Predictor, name: str, shape: Shape | None, overrides: Overrides
) -> tuple[nn.Module, Shape]:
    """The net of a run or file with other options, fresh, for the same classes and channels."""
    section = section_of(predictor)
    if section == AS_IT_IS:
        raise UserError(
            f"{name} holds a net that no name in the catalogue makes, so it has no options; leave `set` out"
        )
    found = recipe_of(None, None, None, {"model": section}, overrides)
    assert found.model is not None
    _same(section, found.model)
    shape = shape or _pixels(found, (predictor.channels, predictor.size, predictor.size))
    return _fresh(found.model, len(predictor.classes), shape), shape


def _pixels(recipe: Recipe, usual: Shape) -> Shape:
    size = recipe.data.size
    return usual if size is None else (usual[0], size, size)


def _same(named: Section, found: Section) -> None:
    """Refuse words that are about another net than the one that is named, which they would replace."""
    wanted, other = (catalog.split("model", section)[0] for section in (named, found))
    if wanted != other:
        raise UserError(
            f"`set` is about the net {other}, and the net is {wanted}; write model.{wanted}.OPTION=VALUE"
        )


def _fresh(section: Section, num_classes: int, shape: Shape) -> nn.Module:
    given = {"num_classes": num_classes, "in_channels": shape[0], "size": shape[1]}
    net: nn.Module = catalog.build("model", section, **given)
    return net


def _name(model: Any) -> str:
    if model is None:
        return "the recipe's net"
    return shown(str(model)) if isinstance(model, str | Path) else type(model).__name__
