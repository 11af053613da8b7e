"""Exchange all layers of one kind in a finished net, also a pretrained one."""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm import layers as timm_layers
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import Spec
from convsmith.errors import UserError
from convsmith.nn.computed import computed, forms_of
from convsmith.nn.init import RECTIFIERS
from convsmith.nn.normalization import L2Norm, LocalResponseNorm
from convsmith.nn.p_norm_pooling import PNormPool2d
from convsmith.nn.probe import blank, probe
from convsmith.nn.stochastic_pooling import StochasticPool2d

Kind = Literal["activation", "norm", "pooling"]
# Sigmoids are left alone: in today's nets they are gates.
ACTIVATIONS = (
    *RECTIFIERS,
    nn.Tanh,
    timm_layers.Swish,
    timm_layers.HardSwish,
    timm_layers.GELU,
    timm_layers.GELUTanh,
)
NORMS = (
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.LocalResponseNorm,
    LocalResponseNorm,
    L2Norm,
)
POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, PNormPool2d, StochasticPool2d)
LAYERS: dict[Kind, tuple[type[nn.Module], ...]] = {
    "activation": ACTIVATIONS,
    "norm": NORMS,
    "pooling": POOLINGS,
}


def swap(model: nn.Module, kind: Kind, spec: Spec, shape: tuple[int, int, int]) -> list[str]:
    """Replace every activation, normalization or pooling of ``model`` by the one that ``spec`` names.

    Activations that are gates (sigmoids) and poolings over the whole map stay. A normalization's scale and
    shift go over to the new one where it has them; running statistics don't.

    Args:
        model: changed in place.
        kind: of the layers.
        spec: name, or {name: {argument: value}}.
        shape: of an image (C, H, W), with which the layers' channels are found.

    Returns:
        names of the layers replaced.

    Raises:
        UserError: if the net has no such layer, or one with parametrized weights, which would be lost.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()); swap(net, "activation", "elu", (1, 5, 5))
    ['1']
    """
    channels = _channels(model, LAYERS[kind], shape)
    if not channels:
        raise UserError(f"this net has no {kind} that could be replaced; leave {kind} out")
    olds = {name: model.get_submodule(name) for name in channels}
    for name, old in olds.items():
        for key in computed(old):
            raise UserError(
                f"{name}: the {key} of this {kind} is computed by {forms_of(old, key)}, which another {kind} "
                f"would lose; exchange layers before they are parametrized"
            )
    for name, count in channels.items():
        old = olds[name]
        model.set_submodule(name, _replacement(kind, spec, old, count))
    return list(channels)


def _replacement(kind: Kind, spec: Spec, old: nn.Module, channels: int) -> nn.Module:
    given: dict[str, Any] = {"channels": channels}
    if kind == "pooling":
        for key in ("kernel_size", "stride", "padding"):
            given[key] = _one(getattr(old, key))
        given["ceil_mode"] = getattr(old, "ceil_mode", False)
    new: nn.Module = catalog.build(kind, spec, **given)
    if kind == "norm":
        _carry_over(old, new)
        # timm's fused layers hold what follows the normalization.
        after = [layer for layer in old.children() if not isinstance(layer, nn.Identity)]
        new = nn.Sequential(new, *after) if after else new
    return new.train(old.training)


def _one(side: int | tuple[int, ...]) -> int:
    return side if isinstance(side, int) else side[0]


@torch.no_grad()
def _carry_over(old: nn.Module, new: nn.Module) -> None:
    for key in ("weight", "bias"):
        mine, theirs = getattr(new, key, None), getattr(old, key, None)
        if isinstance(mine, Tensor) and isinstance(theirs, Tensor) and mine.shape == theirs.shape:
            mine.copy_(theirs)


def _channels(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], shape: tuple[int, int, int]
) -> dict[str, int]:
    """Layers of the given kinds by name, each with the channels that it reads."""
    names = {layer: name for name, layer in model.named_modules() if isinstance(layer, kinds) and name}
    found: dict[str, int] = {}

    def note(layer: nn.Module, inputs: Any) -> None:
        found.setdefault(names[layer], inputs[0].shape[1])

    probe(model, blank(model, shape), before=dict.fromkeys(names.values(), note))
    return found
