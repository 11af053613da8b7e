"""The net that a training starts from: fresh, another run's, a weight file's, or timm's pretrained one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from convsmith import catalog
from convsmith.nn.normalizer import Normalizer
from convsmith.data.dataset import Dataset
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.models.fully_convolutional import FullyConvolutional, converted
from convsmith.models.torchvision_names import renamed
from convsmith.nn.swap import Kind
from convsmith.recipe import Recipe, Section
from convsmith.run.directory import RunDirectory
from convsmith.run.predictor import tensors_of
from convsmith.training.resize_weights import resized_weights

SWAPS: tuple[str, ...] = get_args(Kind)


@dataclass
class Start:
    """A net to begin with.

    ``new_head``: its classifier is fresh, all else is a source's; ``normalizer``: how the source's images
    were normalized, where that is known.
    """

    model: nn.Module
    findings: list[Finding] = field(default_factory=list)
    normalizer: Normalizer | None = None
    new_head: bool = False


def architecture(recipe: Recipe, size: int) -> Section | None:
    """The model that ``train.start_from`` implies where the recipe names none, for images of ``size``."""
    source = recipe.train.start_from
    if source is None or source.startswith("timm:"):
        return recipe.model if recipe.model is not None else source
    run = RunDirectory.of(source)
    if not run.model.exists():
        if recipe.model is not None:
            return recipe.model
        raise UserError(
            f"--from {shown(source)}: there is no model.json beside it; name the net with --model"
        )
    description = run.read_json(run.model)
    found: Section = recipe.model if recipe.model is not None else description["model"]
    slides = recipe.train.resize_weights == "fully_convolutional" and size != description["size"]
    if slides and catalog.split("model", found)[0] != "fully_convolutional":
        return {"fully_convolutional": {"model": found, "trained_size": description["size"]}}
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


def initial(recipe: Recipe, dataset: Dataset) -> Start:
    """The net with the weights that ``train.start_from`` names, if any.

    Raises:
        UserError: if the source is missing, damaged, or of another net.
    """
    assert recipe.model is not None
    if recipe.train.start_from is None:
        return Start(build(recipe.model, dataset))
    found = _sourced(recipe, dataset, recipe.train.start_from)
    if found.new_head:
        zero_init_(found.model)
    return found


@torch.no_grad()
def zero_init_(model: nn.Module) -> None:
    """A new classifier begins at zero, where all classes are alike (Kolesnikov et al. 2020, section 3.3).

    Random weights on trained features would first have to be unlearned. A convolution stays random: in our
    nets a rectifier follows it, which has no slope at zero.
    """
    classifier = model.get_classifier()  # type: ignore[operator]
    if isinstance(classifier, nn.Linear):
        for parameter in classifier.parameters():
            parameter.zero_()


def _sourced(recipe: Recipe, dataset: Dataset, source: str) -> Start:
    assert recipe.model is not None
    if source.startswith("timm:"):
        name, arguments = catalog.split("model", recipe.model)
        if name != source:
            raise UserError(f"--from {source} has the weights of another net than --model {name}; name one")
        changed = {kind: ("timm's", arguments[kind]) for kind in SWAPS if arguments.get(kind) is not None}
        model = build({name: {**arguments, "pretrained": True}}, dataset)
        return Start(model, _swapped(changed), _timms(model, dataset), new_head=True)
    model = build(recipe.model, dataset)
    place = Path(source).expanduser()
    if not place.exists():
        raise UserError(f"--from {shown(source)}: there is no such run or file")
    tensors = tensors_of(RunDirectory(place).weights if place.is_dir() else place)
    changed = _changes(place, recipe.model)
    start = _copied(tensors, model, recipe, dataset, grown=bool(changed))
    start.normalizer = _normalizer(tensors, dataset) or _timms(model, dataset)
    start.findings += _swapped(changed)
    return start


def _normalizer(tensors: Mapping[str, Tensor], dataset: Dataset) -> Normalizer | None:
    """That of one of our own files, where it is for such images."""
    mean, std = tensors.get("normalizer.mean"), tensors.get("normalizer.std")
    if mean is None or std is None or mean.shape[-1] != dataset.channels:
        return None
    if mean.ndim == 3 and mean.shape[0] != dataset.size:
        mean = mean.mean((0, 1))
    return Normalizer(mean, std)


def _timms(model: nn.Module, dataset: Dataset) -> Normalizer | None:
    """As timm says that this net's weights were trained; grey images by the mean of the colors."""
    given = getattr(model, "pretrained_cfg", None) or {}
    if "mean" not in given or "std" not in given:
        return None
    mean, std = (255 * torch.tensor(given[key]) for key in ("mean", "std"))
    if dataset.channels == 1:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return Normalizer(mean, std)


def _changes(place: Path, spec: Section) -> dict[str, tuple[Any, Any]]:
    """Which kinds of layers differ between the net that a run holds and the recipe's."""
    run = RunDirectory.of(place)
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


def _copied(
    tensors: dict[str, Any], model: nn.Module, recipe: Recipe, dataset: Dataset, *, grown: bool
) -> Start:
    """Take over the weights that fit; the head may be of another size, and where layers were exchanged
    (``grown``), the new ones may have weights that the source lacks."""
    source = str(recipe.train.start_from)
    if any(key.startswith("normalizer.") for key in tensors):  # one of our own files
        tensors = {key.removeprefix("model."): v for key, v in tensors.items() if key.startswith("model.")}
    tensors = _slid(renamed(tensors, model), recipe, dataset)
    own = model.state_dict()
    shape = (dataset.channels, dataset.size, dataset.size)
    fitting, findings = resized_weights(
        tensors, model, shape, interpolate=recipe.train.resize_weights == "interpolate"
    )
    head = {id(p) for p in model.get_classifier().parameters()}  # type: ignore[operator]
    fresh = [key for key, p in model.named_parameters() if key not in fitting]
    new_head = [key for key, p in model.named_parameters() if key in fresh and id(p) in head]
    if isinstance(model, FullyConvolutional):
        findings.append(_slides(recipe, dataset))
    strange = [key for key in fresh if key not in new_head and not (grown and key not in tensors)]
    if strange:
        raise UserError(
            f"--from {shown(source)} doesn't fit this net: {strange[0]} is missing or of another shape; "
            f"name the source's own net with --model, or another source"
        )
    model.load_state_dict({**own, **fitting})
    if new_head:
        findings.append(
            Finding(
                seen=f"the head ({', '.join(new_head)}) is new; "
                f"all other weights are those of {shown(source)}",
                means="the classes differ in number",
                why="a head belongs to its classes",
                source="Yosinski et al. 2014",
            )
        )
    return Start(model, findings, new_head=bool(new_head))


def _slides(recipe: Recipe, dataset: Dataset) -> Finding:
    assert recipe.model is not None
    size = catalog.split("model", recipe.model)[1]["trained_size"]
    return Finding(
        seen=f"the net for {size} pixels slides over images of {dataset.size}: fully connected layers are "
        f"convolutions, what they give is averaged over all places",
        means="every layer is as it was trained; objects as large as in the source's images are seen best",
        change="train.resize_weights=interpolate makes one net of the whole image",
        why="a fully connected layer is made for one size of map",
        source="Long et al. 2015, section 3.1",
    )


def _slid(tensors: dict[str, Tensor], recipe: Recipe, dataset: Dataset) -> dict[str, Tensor]:
    """Weights of fully connected layers as the convolutions that they become, if the recipe asks for them."""
    assert recipe.model is not None
    name, arguments = catalog.split("model", recipe.model)
    if name != "fully_convolutional" or any(key.startswith("net.") for key in tensors):
        return tensors
    size = arguments["trained_size"]
    net = catalog.build(
        "model",
        arguments["model"],
        num_classes=len(dataset.classes),
        in_channels=dataset.channels,
        size=size,
    )
    own = net.state_dict()
    fitting = {key: v for key, v in tensors.items() if key in own and own[key].shape == v.shape}
    head = {id(p) for p in net.get_classifier().parameters()}
    missing = [key for key, p in net.named_parameters() if key not in fitting and id(p) not in head]
    if missing:
        return tensors
    net.load_state_dict({**own, **fitting})
    whole = len(fitting) == len(own)
    found = converted(net, (dataset.channels, size, size))
    # A head for other classes stays out: it is new, and said to be.
    return found if whole else {k: v for k, v in found.items() if not k.startswith("fc.")}
