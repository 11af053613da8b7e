"""A net as data: layers by name, and operations over numbered values. Plain Python, without torch.

A program is what a net's file holds when no name of the catalogue builds the net: after channels were
removed, weights factorized or masked, or where the net is a user's own module. It names operations, and holds
no code.

Value 0 is the batch of images; operation n gives value n + 1. An argument of an operation is a plain value, a
:class:`Ref` to a value, an :class:`Array` (a stored tensor), or a :class:`Word` (a dtype, a memory format).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ref:
    """The value with this number."""

    value: int


@dataclass(frozen=True)
class Array:
    """The stored tensor of this name."""

    name: str


@dataclass(frozen=True)
class Word:
    """A constant of torch that JSON has no type for: ``Word("dtype", "float32")``.

    ``Word("mode", "training")`` is True while the net trains.
    """

    kind: str
    name: str


WORDS = ("dtype", "memory_format", "layout", "device", "mode")
Argument = Any  # None, bool, int, float, str, Ref, Array, Word, or a tuple of them


@dataclass(frozen=True)
class Op:
    """One operation: an ATen operator (``"aten.add.Tensor"``), arithmetic on sizes (``"size.mul"``), or the
    call of a layer (``"layer"``, whose first input is the layer's name).

    ``shape`` is that of the result without its batch dimension, where the result is one tensor.
    """

    kind: str
    inputs: tuple[Argument, ...] = ()
    attributes: Mapping[str, Argument] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Form:
    """A weight that is computed from stored tensors, e.g. a mask times a weight: operations without images.

    ``originals`` are the arrays that training changes; value n of ``ops`` is that of its own operation n.
    """

    originals: tuple[str, ...]
    ops: tuple[Op, ...]
    result: Argument


@dataclass(frozen=True)
class Layer:
    """One layer: its class, the arguments that make it, and which stored tensor each of its tensors is.

    ``kind`` is a class of ``torch.nn`` (``"Conv2d"``) or a technique (``"norm:local_response"``).
    """

    kind: str
    attributes: Mapping[str, Argument] = field(default_factory=dict)
    arrays: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, Form] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """Layers by their dotted names, operations in order, and the number of the value that is the output.

    ``arrays`` say of each stored tensor whether it is a ``"parameter"``, a ``"buffer"``, or a ``"constant"``
    that isn't part of the net's state; ``ties`` name parameters that are another one (shared weights).
    """

    layers: Mapping[str, Layer]
    ops: tuple[Op, ...]
    output: int
    arrays: Mapping[str, str]
    ties: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The program as JSON's types.

        >>> Program({}, (Op("aten.relu.default", (Ref(0),), shape=(3,)),), 1, {}).to_json()["ops"]
        [{'op': 'aten.relu.default', 'in': [{'ref': 0}], 'shape': [3]}]
        """
        return {
            "layers": {name: _layer_to_json(layer) for name, layer in self.layers.items()},
            "ops": [_op_to_json(op) for op in self.ops],
            "output": self.output,
            "arrays": dict(self.arrays),
            "ties": dict(self.ties),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Program:
        """The program that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: if it isn't one.
        """
        program = cls(
            layers={str(name): _layer_of(layer) for name, layer in given["layers"].items()},
            ops=tuple(map(_op_of, given["ops"])),
            output=_number(given["output"]),
            arrays={str(name): str(sort) for name, sort in given["arrays"].items()},
            ties={str(name): str(other) for name, other in given["ties"].items()},
        )
        _check(program)
        return program


def _check(program: Program) -> None:
    """Refuse what refers to nothing, and what is called where Python looks first."""
    for number, op in enumerate(program.ops):
        for ref in refs(_read(op)):
            if not 0 <= ref <= number:
                raise ValueError(f"operation {number} reads value {ref}, which isn't there yet")
        if op.kind == "layer":
            called, *given = op.inputs or (None,)
            if not isinstance(called, str) or called not in program.layers:
                raise ValueError(f"operation {number} calls a layer that isn't there")
            if len(given) != 1 or not isinstance(given[0], Ref) or op.attributes:
                raise ValueError(
                    f"operation {number} calls layer {called} with something else than one value"
                )
    if not 0 <= program.output <= len(program.ops):
        raise ValueError(f"there is no value {program.output} to give")
    for name in (*program.layers, *program.arrays, *program.ties):
        if not all(part and not part.startswith("__") for part in name.split(".")):
            raise ValueError(f"{name!r} is no name of a layer or tensor")
    known = {*program.arrays, *program.ties}
    for name in _named(program):
        if name not in known:
            raise ValueError(f"there is no tensor {name!r}")
    for name, other in program.ties.items():
        if other not in program.arrays or name in program.arrays:
            raise ValueError(f"tensor {name!r} is tied to {other!r}, which isn't there")
    for sort in program.arrays.values():
        if sort not in ("parameter", "buffer", "constant"):
            raise ValueError(f"a tensor is a parameter, a buffer or a constant, not {sort!r}")


def _read(op: Op) -> Argument:
    return (op.inputs, tuple(op.attributes.values()))


def _named(program: Program) -> Iterator[str]:
    """The stored tensors that a program names."""
    for op in program.ops:
        yield from arrays(_read(op))
    for layer in program.layers.values():
        yield from layer.arrays.values()
        for form in layer.forms.values():
            yield from form.originals
            for op in form.ops:
                yield from arrays(_read(op))


def arrays(argument: Argument) -> list[str]:
    """Names of the stored tensors in an argument, at any depth.

    >>> arrays((Array("a.weight"), (Ref(2), Array("a.bias"))))
    ['a.weight', 'a.bias']
    """
    if isinstance(argument, Array):
        return [argument.name]
    return [name for part in argument for name in arrays(part)] if isinstance(argument, tuple) else []


def refs(argument: Argument) -> list[int]:
    """Numbers of the values that an argument refers to, at any depth.

    >>> refs((Ref(1), (Ref(2), 3)))
    [1, 2]
    """
    if isinstance(argument, Ref):
        return [argument.value]
    if isinstance(argument, tuple):
        return [value for part in argument for value in refs(part)]
    return []


def _to_json(value: Argument) -> Any:
    if isinstance(value, Ref):
        return {"ref": value.value}
    if isinstance(value, Array):
        return {"array": value.name}
    if isinstance(value, Word):
        return {value.kind: value.name}
    if isinstance(value, tuple):
        return [_to_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # JSON has no infinity
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a program can't hold {value!r}")


def _of_json(given: Any) -> Argument:
    if isinstance(given, list):
        return tuple(map(_of_json, given))
    if not isinstance(given, dict):
        return given
    if len(given) != 1:
        raise ValueError("an argument has one sort")
    ((kind, value),) = given.items()
    if kind == "ref":
        return Ref(_number(value))
    if kind == "array":
        return Array(str(value))
    if kind == "float":
        return float(value)
    if kind in WORDS:
        return Word(kind, str(value))
    raise ValueError(f"{kind!r} is no sort of argument")


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _op_to_json(op: Op) -> dict[str, Any]:
    found: dict[str, Any] = {"op": op.kind, "in": _to_json(op.inputs)}
    if op.attributes:
        found["with"] = {key: _to_json(value) for key, value in op.attributes.items()}
    if op.shape is not None:
        found["shape"] = list(op.shape)
    return found


def _op_of(given: Mapping[str, Any]) -> Op:
    shape = given.get("shape")
    return Op(
        str(given["op"]),
        tuple(map(_of_json, given["in"])),
        {str(key): _of_json(value) for key, value in given.get("with", {}).items()},
        tuple(map(_number, shape)) if shape is not None else None,
    )


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": layer.kind}
    if layer.attributes:
        found["with"] = {key: _to_json(value) for key, value in layer.attributes.items()}
    if layer.arrays:
        found["arrays"] = dict(layer.arrays)
    if layer.forms:
        found["forms"] = {
            slot: {
                "originals": list(form.originals),
                "ops": [_op_to_json(op) for op in form.ops],
                "result": _to_json(form.result),
            }
            for slot, form in layer.forms.items()
        }
    return found


def _layer_of(given: Mapping[str, Any]) -> Layer:
    return Layer(
        str(given["kind"]),
        {str(key): _of_json(value) for key, value in given.get("with", {}).items()},
        {str(slot): str(name) for slot, name in given.get("arrays", {}).items()},
        {str(slot): _form_of(form) for slot, form in given.get("forms", {}).items()},
    )


def _form_of(given: Mapping[str, Any]) -> Form:
    originals: Sequence[Any] = given["originals"]
    if not originals:
        raise ValueError("a computed weight has no tensor that it is computed from")
    ops = tuple(map(_op_of, given["ops"]))
    result = _of_json(given["result"])
    for number, op in enumerate((*ops, Op("", (result,)))):
        if any(not 0 <= ref < number for ref in refs((op.inputs, tuple(op.attributes.values())))):
            raise ValueError("a computed weight reads a value that isn't there")
    return Form(tuple(map(str, originals)), ops, result)
