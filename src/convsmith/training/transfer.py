"""Copy a source's weights into the recipe's net, which may differ in head, size, channels and layers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from convsmith import catalog
from convsmith.data.dataset import Dataset
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.inference.predictor import Predictor
from convsmith.models.fully_convolutional import FullyConvolutional, converted
from convsmith.models.with_convolution import parted
from convsmith.nn import manners
from convsmith.nn.swap import Kind
from convsmith.recipe import Recipe, Section
from convsmith.training.resize_weights import resized_weights

SWAPS: tuple[str, ...] = (*get_args(Kind), "convolution")
# An argument that is None leaves the layers that a net's paper, or timm, gives it.
_OWN = "the net's own"


def changes(before_section: Section, spec: Section) -> dict[str, tuple[Any, Any]]:
    """Kinds of layers that differ between a source and the recipe's net, each as (before, now)."""
    (before_name, before, before_around), (name, now, around) = map(parted, (before_section, spec))
    if name != before_name:
        return {}
    signature = inspect.signature(catalog.load("model", catalog.base_name(name))).parameters
    usual = {kind: signature[kind].default for kind in SWAPS if kind in signature}
    both = {kind: (before.get(kind, own), now.get(kind, own)) for kind, own in usual.items()}
    if (before_around, around) != (None, None):
        plain = both.get("convolution", ("plain", "plain"))
        both["convolution"] = (before_around or plain[0], around or plain[1])
    return {kind: (old, new) for kind, (old, new) in both.items() if old != new}


def swapped(changed: Mapping[str, tuple[Any, Any]]) -> list[Finding]:
    """Findings about layers that were replaced between pretrained ones."""
    consequences = {
        "activation": "the weights were learned for another response: accuracy starts low and comes back "
        "with training, sooner the more alike the two functions are",
        "norm": "scales and shifts go over where both have them, running statistics don't: the first epochs "
        "find the new statistics",
        "convolution": "a deformable one starts as the old one was, a dilated one sees other pixels than its "
        "weights were learned for, so that accuracy starts lower",
        "pooling": "the weights after it see values of another size: a mean is smaller than a maximum, a "
        "p-norm larger",
    }
    return [
        Finding(
            seen=f"the pretrained net's {kind} is exchanged: {old or _OWN} for {new or _OWN}",
            means=consequences[kind],
            change=f"train all layers, not only the last; leave model.{kind} out to keep the net as it was",
            why="trained weights fit the layers that they were trained with",
            source="Yosinski et al. 2014, on co-adapted layers",
        )
        for kind, (old, new) in changed.items()
    ]


def copy_weights_(
    tensors: dict[str, Any],
    model: nn.Module,
    recipe: Recipe,
    dataset: Dataset,
    opened: Predictor | None,
    *,
    grown: bool,
    classes: Sequence[str] | None = None,
) -> tuple[list[Finding], bool]:
    """Copy the source's weights into ``model`` where they fit; return findings, and whether the head is new.

    The head may be of another size; where layers were exchanged (``grown``), the new ones may have weights
    that the source lacks. ``classes`` are those of the source's outputs, None if it doesn't say them: a head
    is kept only for the same classes.

    Raises:
        UserError: if the weights are another net's.
    """
    source = str(recipe.train.start_from)
    if opened is not None:
        tensors = {key.removeprefix("model."): v for key, v in tensors.items() if key.startswith("model.")}
    tensors = _slid(tensors, recipe, dataset)
    own = model.state_dict()
    shape = (dataset.channels, dataset.size, dataset.size)
    interpolate = recipe.train.resize_weights == "interpolate"
    fitting, findings = resized_weights(tensors, model, shape, interpolate=interpolate)
    head = {id(p) for p in manners.classifier(model).parameters()}
    if classes is None or sorted(classes) != sorted(dataset.classes):
        # Perhaps as many classes, but other ones: the old head is useless for them.
        fitting = {k: v for k, v in fitting.items() if k not in _names_of(model, head)}
    elif list(classes) != dataset.classes:
        order = torch.tensor([list(classes).index(label) for label in dataset.classes])
        rows = {k for k in _names_of(model, head) if k in fitting and len(fitting[k]) == len(order)}
        fitting = {k: v[order] if k in rows else v for k, v in fitting.items()}
    fresh = [key for key, p in model.named_parameters() if key not in fitting]
    new_head = [key for key, p in model.named_parameters() if key in fresh and id(p) in head]
    if isinstance(model, FullyConvolutional):
        findings.append(_slides(recipe, dataset))
    strange = [key for key in fresh if key not in new_head and not (grown and key not in tensors)]
    if strange:
        raise UserError(
            f"`start_from={shown(source)}` doesn't fit this net: {strange[0]} is missing or of another "
            f"shape; name the source's own net with `model`, or another source"
        )
    if not grown and not isinstance(model, FullyConvolutional):
        findings += _left_over(tensors, own, shown(source))
    findings += _fresh_statistics(fitting, own, shown(source))
    model.load_state_dict({**own, **fitting})
    if new_head:
        findings.append(head_finding(new_head, shown(source), known=classes is not None))
    return findings, bool(new_head)


def _left_over(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> list[Finding]:
    """Finding about layers of the source that the net lacks; those beside its own ones only.

    Raises:
        UserError: if the source has more layers in the modules of the net, or in a row with them: then it is
            a deeper net, whose first layers alone would be taken.
    """
    # A counter, as some profilers leave in each layer, is no layer.
    left = [key for key, v in tensors.items() if key not in own and v.is_floating_point() and v.numel() > 1]
    rows = {_row(key) for key in own}
    deeper = [key for key in left if _row(key) in rows]
    if deeper:
        raise UserError(
            f"`start_from={source}` holds another net, with layers that this one lacks: {_some(deeper)}; "
            f"name the source's own net with `model`"
        )
    if not left:
        return []
    return [
        Finding(
            seen=f"{source}: {len(left)} tensors are left out, of layers that this net lacks: {_some(left)}",
            name="weights_left_out",
        )
    ]


def _row(name: str) -> str:
    """The outermost module of a weight, without its number: of layer1.0.conv it is layer."""
    return name.partition(".")[0].rstrip("0123456789")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _fresh_statistics(fitting: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> list[Finding]:
    """Finding about running statistics that the source lacks."""
    fresh = [key for key in own if key.endswith("running_var") and key not in fitting]
    scaled = [key for key in fresh if key.replace("running_var", "weight") in fitting]
    if not scaled:
        return []
    return [
        Finding(
            seen=f"{source} lacks the running statistics of {len(scaled)} normalizations ({_some(scaled)}): "
            f"they begin anew",
            means="before its first epoch the net answers like an untrained one; frozen layers stay so",
            change="give a file with them (a whole state_dict), or train all layers: "
            "`train.finetune=all_stages`",
            why="a normalization in evaluation uses what it has counted in training",
            source="Ioffe & Szegedy 2015",
            name="statistics_missing",
        )
    ]


def _names_of(model: nn.Module, parameters: set[int]) -> set[str]:
    return {name for name, parameter in model.named_parameters() if id(parameter) in parameters}


def head_finding(names: list[str], source: str, *, known: bool = True) -> Finding:
    return Finding(
        seen=f"the head ({', '.join(names)}) is new; all other weights are those of {source}",
        means="the classes differ" if known else "the file doesn't say which classes its outputs are",
        why="a head belongs to its classes",
        source="Yosinski et al. 2014",
    )


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
    """Reshape weights of fully connected layers to convolutions, if the recipe's net slides over images."""
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
    head = {id(p) for p in manners.classifier(net).parameters()}
    missing = [key for key, p in net.named_parameters() if key not in fitting and id(p) not in head]
    if missing:
        return tensors
    net.load_state_dict({**own, **fitting})
    whole = len(fitting) == len(own)
    found = converted(net, (dataset.channels, size, size))
    # A head for other classes is left out; it counts as new.
    return found if whole else {k: v for k, v in found.items() if not k.startswith("fc.")}
