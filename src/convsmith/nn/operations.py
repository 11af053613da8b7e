"""Which operations a program may name, and how each is carried out."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

from convsmith.program import Array, Ref, Word

# Arithmetic on sizes: the batch is of any size, so what is computed from it can't be a number in the file.
SIZES: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "getitem")
}
# ATen's private operators trust their callers; these check what they are given.
PRIVATE = ("_to_copy", "_unsafe_view", "_softmax", "_log_softmax", "_adaptive_avg_pool2d", "_weight_norm")
# A file must not open other files, nor move the memory of a tensor.
REFUSED = ("from_file", "set_", "set", "resize_", "resize", "resize_as_", "data", "set_data", "record_stream")
# What an export only checks.
CHECKS = ("_assert", "sym_constrain", "_check")
# Flags of operations that behave otherwise in training: by operation, the argument's name.
MODES = {
    "aten.dropout.default": "train",
    "aten.dropout_.default": "train",
    "aten.feature_dropout.default": "train",
    "aten.alpha_dropout.default": "train",
    "aten.feature_alpha_dropout.default": "train",
    "aten.rrelu.default": "training",
    "aten.rrelu_.default": "training",
    "aten.batch_norm.default": "training",
}
# A view of a map in another memory format may be impossible; a reshape copies then, and is the same
# otherwise.
INSTEAD = {"aten.view.default": "aten.reshape.default"}


def operation(kind: str) -> Callable[..., Any]:
    """The function of a kind of operation, ``"aten.add.Tensor"`` or ``"size.mul"``.

    Raises:
        ValueError: if there is no such operation, or a file may not name it.

    >>> operation("size.mul")(2, 3)
    6
    """
    library, _, rest = kind.partition(".")
    if library == "size" and rest in SIZES:
        return SIZES[rest]
    name, _, overload = INSTEAD.get(kind, kind).partition(".")[2].partition(".")
    allowed = name not in REFUSED and (not name.startswith("_") or name in PRIVATE)
    if library == "aten" and allowed and name.isidentifier() and overload.isidentifier():
        packet = getattr(torch.ops.aten, name, None)
        if isinstance(packet, torch._ops.OpOverloadPacket) and overload in packet.overloads():  # type: ignore[no-untyped-call]
            found: Callable[..., Any] = getattr(packet, overload)
            return found
    raise ValueError(f"{kind!r} is no operation that a model file may name")


def word(value: Any) -> Word | None:
    """A dtype, memory format, layout or device of torch as a :class:`Word`; None for anything else.

    >>> word(torch.float32)
    Word(kind='dtype', name='float32')
    """
    for kind, sort in (
        ("dtype", torch.dtype),
        ("memory_format", torch.memory_format),
        ("layout", torch.layout),
    ):
        if isinstance(value, sort):
            return Word(kind, str(value).removeprefix("torch."))
    # Where a constant is made follows from where the images are.
    return Word("device", "images") if isinstance(value, torch.device) else None


def constant(given: Word) -> Any:
    """The object of torch that a :class:`Word` of kind dtype, memory_format or layout stands for.

    Raises:
        ValueError: if there is none.
    """
    found = getattr(torch, given.name, None)
    if not isinstance(found, torch.dtype | torch.memory_format | torch.layout):
        raise ValueError(f"torch has no {given.kind} {given.name!r}")
    return found


def plain(argument: Any) -> Any:
    """An argument without references, words replaced by torch's constants; others as they are."""
    if isinstance(argument, tuple):
        return tuple(map(plain, argument))
    if isinstance(argument, Word) and argument.kind not in ("mode", "device"):
        return constant(argument)
    return argument


def fixed(argument: Any) -> bool:
    """Whether an argument is the same in every run: no value, tensor, mode or device in it."""
    if isinstance(argument, tuple):
        return all(map(fixed, argument))
    return not isinstance(argument, Ref | Array | Word)
