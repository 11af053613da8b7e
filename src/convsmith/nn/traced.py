"""From a program back to a net: true layers under their names, and the operations between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.nn import operations
from convsmith.program import Argument, Array, Form, Layer, Op, Program, Ref, Word, refs


class Traced(nn.Module):
    """The net that a program describes: input (N, C, H, W), output (N, K); it trains as any other.

    Its layers are those of ``torch.nn`` (a masked weight is a parametrization), under the names that they had.
    ``forward_features``, ``forward_head``, ``get_classifier`` and ``reset_classifier`` are timm's.

    Args:
        program: of the net.
        tensors: by name, as the program's ``arrays`` say.

    Raises:
        ValueError: if the program names a layer or operation that a model file may not name.
        KeyError: if a tensor is missing.

    >>> from convsmith.nn.trace import trace
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    >>> again = Traced(*trace(net, (1, 5, 5)))
    >>> images = torch.rand(4, 1, 5, 5)
    >>> bool((again(images) == net(images)).all()), again.get_classifier()
    (True, Linear(in_features=18, out_features=3, bias=True))
    """

    def __init__(self, program: Program, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.output = program.output
        self._ops = [(op, _caller(op)) for op in program.ops]
        self._dying = _dying(program)
        self._sizes = _sizes(program)
        self._maps, self._head = _cuts(program, self._sizes)
        held = _Held(program, tensors)
        for name, layer in program.layers.items():
            _place(self, name, _built(layer, held))
        for name in (*program.arrays, *program.ties):
            if name not in held.used:
                _register(self, name, held.tensor(name))

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, 0, self.output)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last maps (N, D, h, w) that all else is computed from; where there are none, the features."""
        return self._run(x, 0, self._maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """From what ``forward_features`` gives to logits (N, K), or to what the classifier reads, (N, D)."""
        if not pre_logits:
            return self._run(x, self._maps, self.output)
        vectors = self._run(x, self._maps, self._classifier_input())
        return vectors.mean((2, 3)) if vectors.ndim == 4 else vectors

    def get_classifier(self) -> nn.Module:
        """The last layer with weights, if all of the net passes through it.

        Raises:
            UserError: if the net has no such layer.
        """
        return self.get_submodule(self._classifier_name())

    @property
    def ends_in_classifier(self) -> bool:
        """Whether the classifier's output is the net's."""
        return self._head is not None and self._head + 1 == self.output

    @property
    def num_features(self) -> int:
        """D, of what the classifier reads."""
        return int(_weight(self.get_classifier()).shape[1])

    @property
    def num_classes(self) -> int:
        """K."""
        return int(_weight(self.get_classifier()).shape[0])

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh classifier for ``num_classes``."""
        old = self.get_classifier()
        like: dict[str, Any] = {"device": _weight(old).device, "dtype": _weight(old).dtype}
        if isinstance(old, nn.Conv2d):
            window: dict[str, Any] = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding")}
            new: nn.Module = nn.Conv2d(old.in_channels, num_classes, **window, **like)
        else:
            new = nn.Linear(self.num_features, num_classes, **like)
        self.set_submodule(self._classifier_name(), new)

    def _classifier_input(self) -> int:
        if self._head is None:
            raise UserError("this net has no layer that could be called its classifier")
        return refs(self._ops[self._head][0].inputs)[0]

    def _classifier_name(self) -> str:
        self._classifier_input()
        assert self._head is not None
        return str(self._ops[self._head][0].inputs[0])

    def _run(self, x: Tensor, first: int, last: int) -> Tensor:
        """Value ``last``, where ``x`` is value ``first``."""
        values: dict[int, Any] = {first: x}
        if first:  # sizes of the batch, which were computed before this place
            values[0] = x
            for size in sorted(size for size in self._sizes if size <= first):
                op, call = self._ops[size - 1]
                values[size] = call(self, op, values, x)
        for number in range(first, last):
            op, call = self._ops[number]
            values[number + 1] = call(self, op, values, x)
            for dead in self._dying[number]:
                values.pop(dead, None)
        found: Tensor = values[last]
        return found


Call = Callable[[Traced, Op, dict[int, Any], Tensor], Any]


def _caller(op: Op) -> Call:
    """How an operation is carried out, decided once."""
    if op.kind == "layer":
        path = str(op.inputs[0]).split(".")
        (read,) = refs(op.inputs)

        def call_layer(net: Traced, op: Op, values: dict[int, Any], x: Tensor) -> Any:
            layer: Any = net
            for part in path:
                layer = layer._modules[part]
            return layer(values[read])

        return call_layer
    function = operations.operation(op.kind)
    inputs = operations.plain(op.inputs)
    attributes = {key: operations.plain(value) for key, value in op.attributes.items()}

    def call(net: Traced, op: Op, values: dict[int, Any], x: Tensor) -> Any:
        find = _Finder(net, values, x)
        return function(*map(find, inputs), **{key: find(value) for key, value in attributes.items()})

    return call


class _Finder:
    """What an argument is, in one run."""

    def __init__(self, net: nn.Module, values: Mapping[int, Any], x: Tensor) -> None:
        self.net = net
        self.values = values
        self.x = x

    def __call__(self, argument: Argument) -> Any:
        if isinstance(argument, tuple):
            return [self(part) for part in argument]
        if isinstance(argument, Ref):
            return self.values[argument.value]
        if isinstance(argument, Array):
            owner, _, name = argument.name.rpartition(".")
            return getattr(self.net.get_submodule(owner), name)
        if isinstance(argument, Word):
            return self.net.training if argument.kind == "mode" else self.x.device
        return argument


def _dying(program: Program) -> list[list[int]]:
    """After each operation, the values that nothing reads any more."""
    last: dict[int, int] = {}
    for number, op in enumerate(program.ops):
        for value in refs((op.inputs, tuple(op.attributes.values()))):
            last[value] = number
    dying: list[list[int]] = [[] for _ in program.ops]
    for value, number in last.items():
        if value != program.output:
            dying[number].append(value)
    return dying


def _sizes(program: Program) -> set[int]:
    """The values that are sizes of the batch, or computed from them: they are known anywhere in the net."""
    found: set[int] = set()
    for number, op in enumerate(program.ops):
        read = refs((op.inputs, tuple(op.attributes.values())))
        batch = op.kind == "aten.sym_size.int" and op.inputs == (Ref(0), 0)
        if batch or (op.kind.startswith("size.") and read and all(value in found for value in read)):
            found.add(number + 1)
    return found


def _cuts(program: Program, sizes: set[int]) -> tuple[int, int | None]:
    """The value of the last maps, and the operation that is the classifier; None if there is none.

    A value cuts the net where nothing that comes after it reads anything before it.
    """
    earliest, cuts = program.output, {program.output}
    for number in range(program.output - 1, -1, -1):
        if number + 1 not in sizes:
            read = refs((program.ops[number].inputs, tuple(program.ops[number].attributes.values())))
            earliest = min([earliest, *(value for value in read if value not in sizes)])
        if earliest >= number:
            cuts.add(number)
    head, before = None, program.output
    for number, op in enumerate(program.ops):
        weighted = op.kind == "layer" and program.layers[str(op.inputs[0])].kind in ("Linear", "Conv2d")
        if weighted and number + 1 in cuts and refs(op.inputs)[0] in cuts:
            head, before = number, refs(op.inputs)[0]
    return _last_maps(program, cuts, before), head


def _last_maps(program: Program, cuts: set[int], before: int) -> int:
    """The last cut up to ``before`` that is maps, after which all is vectors; else ``before`` itself."""
    found = before if before in cuts else 0
    for value in range(before, 0, -1):
        shape = program.ops[value - 1].shape or ()
        is_maps = len(shape) == 3 and shape[1:] != (1, 1)
        if is_maps and value in cuts:
            return value
        if len(shape) > 1 and not (len(shape) == 3 and shape[1:] == (1, 1)):
            return found  # maps on several paths, or tokens
    return found


class _Held:
    """The tensors of a net as its parameters and buffers, each one object however often it is used."""

    def __init__(self, program: Program, tensors: Mapping[str, Tensor]) -> None:
        self.program = program
        self.tensors = tensors
        self.made: dict[str, Tensor] = {}
        self.used: set[str] = set()

    def tensor(self, name: str) -> Tensor:
        self.used.add(name)
        name = self.program.ties.get(name, name)
        if name not in self.made:
            found = self.tensors[name]
            if self.program.arrays[name] == "parameter":
                found = nn.Parameter(found, requires_grad=found.is_floating_point())
            self.made[name] = found
        return self.made[name]


def _built(layer: Layer, held: _Held) -> nn.Module:
    """A layer with its tensors."""
    attributes = {key: operations.plain(value) for key, value in layer.attributes.items()}
    kind, technique, name = layer.kind.partition(":")
    if technique:
        made: nn.Module = catalog.rebuild(kind, name, attributes)
    else:
        sort = getattr(nn, kind, None)
        if not (isinstance(sort, type) and issubclass(sort, nn.Module)):
            raise ValueError(f"torch.nn has no layer {kind!r}")
        with torch.device("meta"):  # no time and memory for weights that are replaced
            made = sort(**attributes)
    for slot, array in layer.arrays.items():
        _set(made, slot, held.tensor(array))
    for slot, form in layer.forms.items():
        _install(made, slot, form, held)
    return made


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Make a tensor the parameter or buffer of this name, in the place of the one that is there."""
    for held in (module._parameters, module._buffers):
        held.pop(name, None)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _register(net: nn.Module, name: str, tensor: Tensor) -> None:
    """Keep a tensor that no layer has under its own name."""
    owner, _, last = name.rpartition(".")
    try:
        module = net.get_submodule(owner)
    except AttributeError:
        module = nn.Module()
        _place(net, owner, module)
    if not hasattr(module, last):
        _set(module, last, tensor)


def _place(net: nn.Module, name: str, layer: nn.Module) -> None:
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

    def __init__(self, form: Form, held: _Held) -> None:
        super().__init__()
        self.result = form.result
        self.originals = form.originals
        self._ops = [(op, operations.operation(op.kind)) for op in form.ops]
        self.names: dict[str, str] = {}
        for op in form.ops:
            for array in _arrays((op.inputs, tuple(op.attributes.values()))):
                if array not in form.originals and array not in self.names:
                    last = array.rpartition(".")[2]
                    self.names[array] = (
                        last if last not in self.names.values() else f"{last}_{len(self.names)}"
                    )
                    _set(self, self.names[array], held.tensor(array))

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


def _arrays(argument: Argument) -> list[str]:
    if isinstance(argument, Array):
        return [argument.name]
    return [name for part in argument for name in _arrays(part)] if isinstance(argument, tuple) else []


def _install(layer: nn.Module, slot: str, form: Form, held: _Held) -> None:
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


def _weight(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight
