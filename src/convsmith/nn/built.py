"""Layers with their tensors, as a program describes them, and their places in a net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsmith import catalog
from convsmith.nn import operations
from convsmith.program import Argument, Array, Form, Layer, Program, Ref, Word, arrays

# What torch.nn has beside layers: they hold others, and have nothing to compute by themselves.
CONTAINERS = (
    "Module",
    "Sequential",
    "ModuleList",
    "ModuleDict",
    "ParameterList",
    "ParameterDict",
    "Container",
)


class Held:
    """The tensors of a net as its parameters and buffers, each one object however often it is used."""

    def __init__(self, program: Program, tensors: Mapping[str, Tensor]) -> None:
        self.program = program
        self.tensors = tensors
        self.made: dict[str, Tensor] = {}
        self.used: set[str] = set()

    def lasts(self, name: str) -> bool:
        """Whether a buffer is part of the net's state."""
        return self.program.arrays[self.program.ties.get(name, name)] != "constant"

    def tensor(self, name: str) -> Tensor:
        self.used.add(name)
        name = self.program.ties.get(name, name)
        if name not in self.made:
            found = self.tensors[name]
            if self.program.arrays[name] == "parameter":
                found = nn.Parameter(found, requires_grad=found.is_floating_point())
            self.made[name] = found
        return self.made[name]


def built(layer: Layer, held: Held) -> nn.Module:
    """A layer with its tensors."""
    attributes = {key: operations.plain(value) for key, value in layer.attributes.items()}
    kind, technique, name = layer.kind.partition(":")
    if technique:
        made: nn.Module = catalog.rebuild(kind, name, attributes)
    else:
        sort = getattr(nn, kind, None)
        if not (isinstance(sort, type) and issubclass(sort, nn.Module) and kind not in CONTAINERS):
            raise ValueError(f"torch.nn has no layer {kind!r}")
        with torch.device("meta"):  # no time and memory for weights that are replaced
            made = sort(**attributes)
    if not isinstance(made, nn.Module):
        raise ValueError(f"{layer.kind!r} is no layer")
    for slot, array in layer.arrays.items():
        own = {**made._parameters, **made._buffers}
        if slot not in own:
            raise ValueError(f"a {layer.kind} has no tensor {slot!r}")
        _compare(layer, slot, own[slot], held.tensor(array), technique)
        _set(made, slot, held.tensor(array), persistent=held.lasts(array))
    for slot, form in layer.forms.items():
        promised = getattr(made, slot)
        _install(made, slot, form, held)
        _compare(layer, slot, promised, getattr(made, slot), technique)
    return made


def _compare(layer: Layer, slot: str, promised: Tensor | None, given: Tensor, technique: str) -> None:
    """Refuse a tensor that isn't as a layer's arguments say; those of this package may have lost channels."""
    if promised is not None and promised.shape != given.shape and not technique:
        raise ValueError(
            f"a {layer.kind} of these arguments has a {slot} {tuple(promised.shape)}, not "
            f"{tuple(given.shape)}"
        )


def _set(module: nn.Module, name: str, tensor: Tensor, *, persistent: bool = True) -> None:
    """Make a tensor the parameter or buffer of this name, in the place of the one that is there."""
    for held in (module._parameters, module._buffers):
        held.pop(name, None)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor, persistent=persistent)


def register(net: nn.Module, name: str, tensor: Tensor, *, persistent: bool) -> None:
    """Keep a tensor that no layer has under its own name."""
    owner, _, last = name.rpartition(".")
    try:
        module = net.get_submodule(owner)
    except AttributeError:
        module = nn.Module()
        place(net, owner, module)
    if last not in module._parameters and last not in module._buffers and last not in module._modules:
        _set(module, last, tensor, persistent=persistent)


def place(net: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a module where its dotted name says, with containers on the way."""
    *around, last = name.split(".")
    here = net
    for part in around:
        if part not in here._modules:
            here.add_module(part, nn.Module())
        here = here.get_submodule(part)
    if last in here._modules:  # a container that was made on the way to one of its parts
        for inner, module in here.get_submodule(last).named_children():
            layer.add_module(inner, module)
        here._modules[last] = layer
    else:
        here.add_module(last, layer)


class Computed(nn.Module):
    """A parametrization of torch that computes a weight as a program says.

    Args:
        form: how.
        held: where the tensors beside the originals come from.
    """

    def __init__(self, form: Form, held: Held) -> None:
        super().__init__()
        self.result = form.result
        self.originals = form.originals
        self._ops = [(op, operations.operation(op.kind)) for op in form.ops]
        self.names: dict[str, str] = {}
        for op in form.ops:
            for array in arrays((op.inputs, tuple(op.attributes.values()))):
                if array not in form.originals and array not in self.names:
                    last = array.rpartition(".")[2]
                    self.names[array] = f"{last}_{len(self.names)}" if hasattr(self, last) else last
                    _set(self, self.names[array], held.tensor(array), persistent=held.lasts(array))

    def forward(self, *originals: Tensor) -> Tensor:
        given = dict(zip(self.originals, originals))
        values: list[Any] = []

        def find(argument: Argument) -> Any:
            if isinstance(argument, tuple):
                return [find(part) for part in argument]
            if isinstance(argument, Ref):
                return values[argument.value]
            if isinstance(argument, Array):
                own = given.get(argument.name)
                return own if own is not None else getattr(self, self.names[argument.name])
            if isinstance(argument, Word):
                return self.training if argument.kind == "mode" else _word(argument, originals[0])
            return argument

        for op, function in self._ops:
            words = {key: find(value) for key, value in op.attributes.items()}
            values.append(function(*map(find, op.inputs), **words))
        found: Tensor = find(self.result)
        return found


def _word(argument: Word, like: Tensor) -> Any:
    return like.device if argument.kind == "device" else operations.constant(argument)


def _install(layer: nn.Module, slot: str, form: Form, held: Held) -> None:
    """Parametrize a layer's tensor; its originals may be of other shapes, and several."""
    originals = [held.tensor(name) for name in form.originals]
    _set(layer, slot, originals[0])
    computed = Computed(form, held)
    if len(originals) > 1:
        # Only so does torch take several originals; nothing may be written through it afterwards.
        computed.right_inverse = lambda weight: tuple(originals)  # type: ignore[assignment]
    parametrize.register_parametrization(layer, slot, computed, unsafe=True)
    computed.__dict__.pop("right_inverse", None)
    kept: Any = layer.parametrizations[slot]  # type: ignore[index]
    for number, tensor in enumerate(originals):
        # The same objects, so that shared weights stay shared.
        _set(kept, "original" if len(originals) == 1 else f"original{number}", tensor)
