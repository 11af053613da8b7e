"""From a program back to a net: true layers under their names, and the operations between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.nn import operations
from convsmith.nn.built import Held, built, place, register
from convsmith.nn.manners import fresh
from convsmith.program import Argument, Array, Op, Program, Ref, Word, refs


class Traced(nn.Module):
    """The net that a program describes: input (N, C, H, W), output (N, K); it trains as any other.

    Its layers are those of ``torch.nn`` (a masked weight is a parametrization), under their old names.
    ``forward_features``, ``forward_head``, ``get_classifier`` and ``reset_classifier`` are timm's.

    Args:
        program: of the net.
        tensors: by name, as the program's ``arrays`` say.

    Raises:
        ValueError: if the program names a layer or operation that a model file may not name.
        KeyError: if a tensor is missing.

    >>> import torch
    >>> from convsmith.nn.trace import trace
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    >>> again = Traced(*trace(net, (1, 5, 5)))
    >>> images = torch.rand(4, 1, 5, 5)
    >>> bool((again(images) == net(images)).all()), again.get_classifier()
    (True, Linear(in_features=18, out_features=3, bias=True))
    """

    def __init__(self, program: Program, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        sizes = _sizes(program)
        maps, head = _cuts(program, sizes)
        called = (
            None
            if head is None
            else (head, str(program.ops[head].inputs[0]), refs(program.ops[head].inputs)[0])
        )
        calls = list(map(_caller, program.ops))
        # One attribute: layers may have any name, and "output" is a usual one.
        self._of_program = _Way(calls, _dying(program), sizes, program.output, maps, called)
        held = Held(program, tensors)
        for name, layer in program.layers.items():
            place(self, name, built(layer, held))
        for name in (*program.arrays, *program.ties):
            if name not in held.used:
                register(self, name, held.tensor(name), persistent=held.lasts(name))

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, 0, self._of_program.output)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last maps (N, D, h, w) that all else is computed from; where there are none, the features."""
        return self._run(x, 0, self._of_program.maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """From what ``forward_features`` gives to logits (N, K), or to what the classifier reads, (N, D)."""
        if not pre_logits:
            return self._run(x, self._of_program.maps, self._of_program.output)
        vectors = self._run(x, self._of_program.maps, self._classifier()[2])
        return vectors.mean((2, 3)) if vectors.ndim == 4 else vectors

    def get_classifier(self) -> nn.Module:
        """The last layer with weights, if all of the net passes through it.

        Raises:
            UserError: if the net has no such layer.
        """
        return self.get_submodule(self._classifier()[1])

    @property
    def ends_in_classifier(self) -> bool:
        """Whether the classifier's output is the net's."""
        head = self._of_program.head
        return head is not None and head[0] + 1 == self._of_program.output

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
        width = old.in_channels if isinstance(old, nn.Conv2d) else self.num_features
        self.set_submodule(self._classifier()[1], fresh(old, width, num_classes).to(_weight(old)))

    def _classifier(self) -> tuple[int, str, int]:
        """The operation that is the classifier, the layer's name, and the value that it reads."""
        if self._of_program.head is None:
            raise UserError("this net has no layer that could be called its classifier")
        return self._of_program.head

    def _run(self, x: Tensor, first: int, last: int) -> Tensor:
        """Value ``last``, where ``x`` is value ``first``."""
        way = self._of_program
        values: list[Any] = [None] * (last + 1)
        values[first] = x
        if first:  # sizes of the batch, which were computed before this place
            values[0] = x
            for size in sorted(size for size in way.sizes if size <= first):
                values[size] = way.calls[size - 1](self, values, x)
        for number in range(first, last):
            values[number + 1] = way.calls[number](self, values, x)
            for dead in way.dying[number]:
                values[dead] = None
        found: Tensor = values[last]
        return found


Call = Callable[[Traced, list[Any], Tensor], Any]


@dataclass(frozen=True)
class _Way:
    """A program made ready: calls in order, which values each leaves behind, and the places of its parts."""

    calls: list[Call]
    dying: list[list[int]]
    sizes: set[int]
    output: int
    maps: int
    head: tuple[int, str, int] | None


def _caller(op: Op) -> Call:
    """How an operation is carried out, decided once."""
    if op.kind == "layer":
        return _layer_caller(op)
    function = operations.operation(op.kind)
    inputs = operations.plain(op.inputs)
    attributes = {key: operations.plain(value) for key, value in op.attributes.items()}
    if not attributes and all(isinstance(own, Ref) or operations.fixed(own) for own in inputs):
        # The usual case, x + y, without a search through its arguments.
        places = [own.value if isinstance(own, Ref) else None for own in inputs]
        given = list(zip(places, inputs))

        def call_plainly(net: Traced, values: list[Any], x: Tensor) -> Any:
            return function(*[own if place is None else values[place] for place, own in given])

        return call_plainly

    def call(net: Traced, values: list[Any], x: Tensor) -> Any:
        find = _Finder(net, values, x)
        return function(*map(find, inputs), **{key: find(value) for key, value in attributes.items()})

    return call


def _layer_caller(op: Op) -> Call:
    *around, last = str(op.inputs[0]).split(".")
    (read,) = refs(op.inputs)

    def call_layer(net: Traced, values: list[Any], x: Tensor) -> Any:
        # By name each time: a layer may have been replaced.
        layers: Any = net._modules
        for part in around:
            layers = layers[part]._modules
        return layers[last](values[read])

    return call_layer


class _Finder:
    """What an argument is, in one run."""

    def __init__(self, net: nn.Module, values: Sequence[Any], x: Tensor) -> None:
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


def _weight(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight
