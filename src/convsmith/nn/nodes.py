"""One operation of an exported graph: its name, its arguments, and what it is in a program."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from convsmith.errors import UserError
from convsmith.nn import operations

# What a graph holds as a graph of its own, and what to write in its place.
INSTEAD = {
    "set_grad_enabled": "torch.no_grad() in its forward; take .detach() of the result in its place",
    "autocast": "torch.autocast in its forward; put it around the call of the net in its place",
}


def working(graph: fx.Graph) -> list[fx.Node]:
    """The operations of a graph in order, without checks and what only the checks read."""
    kept: dict[fx.Node, None] = {}
    for node in reversed(graph.nodes):
        if node.op == "call_function" and not _is_check(node):
            used = any(user in kept or user.op == "output" for user in node.users)
            # Torch's own operations may write in place, and be there for that alone.
            if used or isinstance(node.target, torch._ops.OpOverload):
                kept[node] = None
    return list(kept)[::-1]


def _is_check(node: fx.Node) -> bool:
    return not node.users and any(word in str(node.target) for word in operations.CHECKS)


def name_of(node: fx.Node) -> str:
    """``conv2d`` of ``aten.conv2d.default``; empty for what is no ATen operator, or another overload."""
    parts = str(node.target).split(".")
    return parts[1] if parts[0] == "aten" and parts[-1] in ("default", "padding") else ""


def kind_of(node: fx.Node) -> str:
    target = node.target
    kind = f"size.{target.__name__}" if target in operations.SIZES.values() else str(target)  # type: ignore[union-attr]
    try:
        operations.operation(kind)
    except ValueError:
        stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        where = f"layer {stack[-1]}" if stack and stack[-1] else "the net"
        for name, remedy in INSTEAD.items():
            if name in kind:
                raise UserError(f"{where} can't be written to a model file: it uses {remedy}") from None
        raise UserError(
            f"{where} uses {kind}, which a model file can't hold; write it with torch's plain operations, or "
            f"keep the net in your own code"
        ) from None
    return kind


def shape_of(value: Tensor) -> tuple[int, ...] | None:
    """Sizes without the batch, where they are numbers."""
    sizes = list(value.shape[1:])
    return tuple(sizes) if all(isinstance(size, int) for size in sizes) else None


def bound(node: fx.Node) -> dict[str, Any]:
    """Arguments of an ATen operator by name, defaults included."""
    given = {}
    for place, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if place < len(node.args):
            given[argument.name] = node.args[place]
        else:
            given[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return given


def is_sized(module: nn.Module, nodes: Sequence[fx.Node]) -> bool:
    """Whether a transposed convolution was called with an ``output_size`` that isn't its own."""
    own = getattr(module, "output_padding", None)
    return own is not None and any(
        tuple(bound(node)["output_padding"]) != tuple(own)
        for node in nodes
        if "conv_transpose" in str(node.target)
    )


def written(node: fx.Node) -> list[fx.Node]:
    """The tensors that an operation writes into."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    given = bound(node)
    changed = [
        given[argument.name]
        for argument in node.target._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [one for one in changed if isinstance(one, fx.Node)]


def output_of(exported: torch.export.ExportedProgram, kind: str, known: Collection[fx.Node]) -> fx.Node:
    """The one tensor that is the output of a net of class ``kind``, among the operations known.

    Raises:
        UserError: if it gives several, a structure, or a constant.
    """
    shape = exported.call_spec.out_spec
    if shape is None or not shape.is_leaf():
        raise UserError(
            f"the net ({kind}) gives a {_sort(shape)}, and a model file holds nets "
            f"that give one tensor (N, K); wrap it in a module that picks its logits"
        )
    given: Any = exported.graph_module.graph.output_node().args[0]
    output = given[0]
    if not isinstance(output, fx.Node) or output not in known or isinstance(output.meta["val"].shape[0], int):
        raise UserError(
            f"the output of the net ({kind}) isn't computed from the images, or not "
            f"one row for each; such a net can't be written to a model file"
        )
    return output


def _sort(spec: Any) -> str:
    """The name of what a net gives in the place of a tensor."""
    sort = getattr(spec, "type", None)
    return sort.__name__ if isinstance(sort, type) else "structure of several parts"
