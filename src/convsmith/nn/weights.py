"""The weights of a net: which tensors penalties, constraints and diagnoses act on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convsmith.errors import UserError, nearest
from convsmith.nn.computed import LAYERS, computed, named_layers, read

EVERY = ("*",)
# Answers of :func:`places` by its arguments.
Memory = dict[tuple[int, tuple[str, ...], bool], dict[str, "Weight"]]
_MEMORY: ContextVar[Memory | None] = ContextVar("memory of places", default=None)


class Weight(NamedTuple):
    """A layer's weight by reference: the layer and the name of its tensor, stored or computed when read."""

    layer: nn.Module
    key: str

    def value(self) -> Tensor:
        """The weight as the layer uses it; its gradient reaches the parameters behind it."""
        return read(self.layer, self.key)

    def parameters(self) -> list[nn.Parameter]:
        """Stored parameters: the weight itself, or those that it is computed from."""
        behind = computed(self.layer).get(self.key)
        return [self.layer._parameters[self.key]] if behind is None else behind  # type: ignore[list-item]


def weights(
    model: nn.Module, layers: Sequence[str] = EVERY, *, everything: bool = False
) -> dict[str, Tensor]:
    """Weights of convolutions and fully connected layers by name, as the layers use them.

    A plain layer's weight is its parameter. A parametrized or pruned layer's weight is computed, once a
    call, with its gradient's history: a function of these tensors trains what they are computed from. A
    weight that several layers share is there once, under the first one's name; biases and norms are left
    out. Inside ``torch.nn.utils.parametrize.cached()`` the layers' own forward uses the same computation.

    Args:
        model: any net.
        layers: patterns of layer names as in a shell, e.g. ``["fc", "layer3.*"]``.
        everything: all parameters of the layers that fit, biases and norms too.

    Raises:
        UserError: if a pattern fits no layer.

    >>> list(weights(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))))
    ['0.weight', '2.weight']
    """
    found = places(model, layers, everything=everything)
    return {name: weight.value() for name, weight in found.items()}


def stored(
    model: nn.Module, layers: Sequence[str] = EVERY, *, everything: bool = False
) -> dict[str, list[nn.Parameter]]:
    """By the same names as :func:`weights`, the parameters that each weight is or is computed from.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> [tuple(p.shape) for p in stored(layer)["weight"]]
    [(3, 1), (3, 2)]
    """
    found = places(model, layers, everything=everything)
    return {name: weight.parameters() for name, weight in found.items()}


def places(model: nn.Module, layers: Sequence[str] = EVERY, *, everything: bool = False) -> dict[str, Weight]:
    """By the same names as :func:`weights`, the layer that holds each weight, and its name there.

    >>> places(nn.Linear(2, 2))["weight"].key
    'weight'
    """
    memory = _MEMORY.get()
    if memory is None:
        return _places(model, layers, everything)
    key = (id(model), tuple(layers), everything)
    if key not in memory:
        memory[key] = _places(model, layers, everything)
    return memory[key]


def _places(model: nn.Module, layers: Sequence[str], everything: bool) -> dict[str, Weight]:
    found: dict[str, Weight] = {}
    seen: dict[tuple[int, ...], list[Weight]] = {}
    for name, layer in named_layers(model):
        plain = None if everything else _plain(layer)
        for key in _keys(layer, everything) if plain is None else ("weight",):
            weight = Weight(layer, key)
            behind = (id(plain),) if plain is not None else _behind(weight)
            others = seen.setdefault(behind, [])
            if not any(_same(weight, other) for other in others):
                others.append(weight)
                found[f"{name}.{key}" if name else key] = weight
    if tuple(layers) == EVERY:
        return found
    names = {key: key.rpartition(".")[0] for key in found}
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in names.values()):
            raise UserError(f"no layer with weights is called {pattern!r}{nearest(pattern, names.values())}")
    return {k: w for k, w in found.items() if any(fnmatchcase(names[k], pattern) for pattern in layers)}


@contextmanager
def remembered(memory: Memory) -> Iterator[None]:
    """Within it, :func:`places` walks over a net once for each of its questions, and answers from ``memory``.

    Only for nets that keep their layers and parametrizations for as long as ``memory`` is used.

    >>> net, memory = nn.Linear(2, 2), {}
    >>> with remembered(memory): first = places(net)
    >>> with remembered(memory): places(net) is first
    True
    """
    if torch.compiler.is_compiling():  # the walk is done once there, when the code is made
        yield
        return
    token = _MEMORY.set(memory)
    try:
        yield
    finally:
        _MEMORY.reset(token)


def _plain(layer: nn.Module) -> Tensor | None:
    """The weight of a layer that computes nothing; penalties ask at each step, so without any detour."""
    if not isinstance(layer, LAYERS) or layer._forward_pre_hooks or "parametrizations" in layer._modules:
        return None
    return layer._parameters.get("weight")


def _behind(weight: Weight) -> tuple[int, ...]:
    """Which parameters a weight is made of; a weight of none is its layer's own."""
    return tuple(map(id, weight.parameters())) or (id(weight.layer),)


def _keys(layer: nn.Module, everything: bool) -> list[str]:
    """Names of the layer's tensors that count, in the order in which it was given them."""
    if not everything and not isinstance(layer, LAYERS):
        return []
    behind = computed(layer)
    hidden = {id(parameter) for own in behind.values() for parameter in own}
    plain = [key for key, p in layer.named_parameters(recurse=False) if id(p) not in hidden]
    keys = [*behind, *plain]
    return keys if everything else [key for key in keys if key == "weight"]


def _same(weight: Weight, other: Weight) -> bool:
    """Whether two weights over the same parameters are equal: two masks may lie on one shared weight."""
    if not any(w.key in computed(w.layer) for w in (weight, other)):
        return True
    a, b = weight.value(), other.value()
    return a.shape == b.shape and a.equal(b)
