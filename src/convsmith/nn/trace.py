"""From a net to a program: its layers as they are, what lies between them as operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from convsmith.errors import UserError
from convsmith.nn import operations
from convsmith.nn.exporting import exported
from convsmith.nn.layer_of import SLOTS, WEIGHTED, is_layer, made_by, weighted_layer
from convsmith.nn.nodes import bound, is_sized, kind_of, name_of, output_of, shape_of, working, written
from convsmith.program import Argument, Array, Form, Layer, Op, Program, Ref, Word


def trace(model: nn.Module, shape: tuple[int, int, int]) -> tuple[Program, dict[str, Tensor]]:
    """A net as a program and its tensors by name, as it answers in evaluation; batches of any size.

    Layers of ``torch.nn`` and of this package stay layers, under their own names, so that the net that
    :class:`convsmith.nn.traced.Traced` makes of it trains as this one does. A weight that is computed
    (``torch.nn.utils.parametrize``) stays computed. Branches on an image's size are taken as for ``shape``.

    Args:
        model: any module from images (N, C, H, W) to one tensor (N, K); not changed.
        shape: of an image, (C, H, W).

    Raises:
        UserError: if what the net does depends on the values in an image, or it can't be exported, with the
            name of the layer.

    >>> program, tensors = trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 5, 5))
    >>> [op.inputs[0] for op in program.ops], sorted(tensors)
    (['0', '1'], ['0.bias', '0.weight'])
    """
    return _Tracer(model, exported(model, shape)).program()


@dataclass
class _Call:
    """One call of a layer in the graph: its operations, and the module."""

    name: str
    module: nn.Module
    nodes: list[fx.Node]


class _Tracer:
    """Turns one exported graph into a program.

    Args:
        model: whose layers are looked up by name.
        exported: of it.
    """

    def __init__(self, model: nn.Module, exported: torch.export.ExportedProgram) -> None:
        self.model = model
        self.exported = exported
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.arrays: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self.ties: dict[str, str] = {}
        self.of_tensor: dict[int, str] = {}
        self.of_node: dict[fx.Node, Array] = {}
        self.values: dict[fx.Node, int] = {}
        self.layers: dict[str, Layer] = {}
        self.ops: list[Op] = []
        self.computed: set[fx.Node] = set()

    def program(self) -> tuple[Program, dict[str, Tensor]]:
        self._keep_tensors()
        graph = self.exported.graph_module.graph
        images, *others = self._placeholders(graph)
        if others:
            raise UserError("a net that reads more than images can't be written to a model file")
        self.values[images] = 0
        nodes = working(graph)
        self.computed = self._from_tensors_alone(nodes)
        for step in self._steps(nodes):
            if isinstance(step, _Call):
                self._add_call(step)
            elif step not in self.computed:
                self._add(step)
        output = output_of(self.exported, type(self.model).__name__, self.values)
        program = Program(self.layers, tuple(self.ops), self.values[output], self.arrays, self.ties)
        return program, self.tensors

    # ---- tensors

    def _keep_tensors(self) -> None:
        """Parameters and buffers by name, each once; the exporter's constants."""
        passing = {
            f"{name}.{buffer}" if name else buffer
            for name, module in self.modules.items()
            for buffer in module._non_persistent_buffers_set
        }
        for kind, named in (
            ("parameter", self.model.named_parameters(remove_duplicate=False)),
            ("buffer", self.model.named_buffers(remove_duplicate=False)),
        ):
            for name, tensor in named:
                sort = "constant" if name in passing else kind
                first = self.of_tensor.setdefault(id(tensor), name)
                if first != name:
                    self.ties[name] = first
                else:
                    self.arrays[name], self.tensors[name] = sort, tensor.detach()
        for name, value in self.exported.constants.items():
            if isinstance(value, Tensor) and name not in self.arrays and name not in self.ties:
                self.arrays[name], self.tensors[name] = "constant", value.detach()

    def _placeholders(self, graph: fx.Graph) -> list[fx.Node]:
        """The graph's inputs that are images; the others become stored tensors."""
        targets = {
            spec.arg.name: spec.target
            for spec in self.exported.graph_signature.input_specs
            if spec.target is not None
        }
        images = []
        for node in graph.nodes:
            if node.op == "placeholder":
                if node.name in targets:
                    name = str(targets[node.name])
                    self.of_node[node] = Array(self.ties.get(name, name))
                else:
                    images.append(node)
        return images

    def _from_tensors_alone(self, nodes: Sequence[fx.Node]) -> set[fx.Node]:
        """Operations that read no image: what computes weights. Those that draw are no such thing."""
        found: set[fx.Node] = set()
        for node in nodes:
            inputs = node.all_input_nodes
            fresh = not inputs
            if not fresh and all(given in self.of_node or given in found for given in inputs):
                found.add(node)
        return found

    # ---- layers

    def _steps(self, nodes: Sequence[fx.Node]) -> Iterator[_Call | fx.Node]:
        """Operations in order, those of one call of a layer together, where the call is one value to one."""
        calls: dict[str, _Call] = {}
        for node in nodes:
            found = self._called(node)
            if found is not None:
                key, name, module = found
                calls.setdefault(key, _Call(name, module, [])).nodes.append(node)
        whole = {call.nodes[-1]: call for call in calls.values() if self._closed(call)}
        inside = {node for call in whole.values() for node in call.nodes}
        for node in nodes:
            if node in whole:
                yield whole[node]
            elif node not in inside:
                yield node

    def _called(self, node: fx.Node) -> tuple[str, str, nn.Module] | None:
        """The outermost layer whose call a node is part of: the call's key, the layer's name, the layer."""
        for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
            module = self.modules.get(path)
            if module is not None and path and is_layer(module):
                return key, path, module
        return None

    def _closed(self, call: _Call) -> bool:
        """Whether a call reads one value and gives one, and computes it with the layer's own tensors."""
        own = set(call.nodes)
        read = {
            given
            for node in call.nodes
            for given in node.all_input_nodes
            if given not in own and given not in self.of_node and isinstance(given.meta.get("val"), Tensor)
        } - self.computed
        given = [node for node in call.nodes if any(user not in own for user in node.users)]
        if len(read) != 1 or given != [call.nodes[-1]] or is_sized(call.module, call.nodes):
            return False
        if not parametrize.is_parametrized(call.module):
            return True
        return set(call.module.parametrizations) == {"weight"} and self._weighted(call) is not None  # type: ignore[arg-type]

    def _weighted(self, call: _Call) -> fx.Node | None:
        """The operation of a call that reads the layer's weight."""
        names = [node for node in call.nodes if name_of(node) in WEIGHTED]
        return names[0] if len(names) == 1 else None

    def _add_call(self, call: _Call) -> None:
        images = next(
            given
            for node in call.nodes
            for given in node.all_input_nodes
            if given in self.values and isinstance(given.meta.get("val"), Tensor)
        )
        name = self._place(call.name)
        if name not in self.layers:
            self.layers[name] = self._layer(call)
        self._note(call.nodes[-1], Op("layer", (name, Ref(self.values[images]))))

    def _place(self, name: str) -> str:
        """A layer inside of another one (timm's fused normalizations) gets a name beside it."""
        parts = name.split(".")
        for length in range(1, len(parts)):
            if ".".join(parts[:length]) in self.layers:
                return ".".join([*parts[: length - 1], "_".join(parts[length - 1 :])])
        return name

    def _layer(self, call: _Call) -> Layer:
        module = call.module
        forms = {}
        if parametrize.is_parametrized(module):
            node = self._weighted(call)
            assert node is not None
            forms["weight"] = self._form(node.args[1], call.name)
        arrays = {
            slot: self.of_tensor[id(tensor)]
            for slot, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }
        kind, attributes = made_by(module)
        return Layer(kind, attributes, arrays, forms)

    def _form(self, weight: Any, name: str) -> Form:
        """How a weight is computed, from the operations before it."""
        order: list[fx.Node] = []

        def visit(node: fx.Node) -> None:
            for given in node.all_input_nodes:
                if given not in self.of_node and given not in order:
                    visit(given)
            order.append(node)

        visit(weight)
        places = {node: number for number, node in enumerate(order)}
        ops = [self._op(node, places) for node in order]
        leaves = [
            self.of_node[given].name
            for node in order
            for given in node.all_input_nodes
            if given in self.of_node
        ]
        trained = [leaf for leaf in dict.fromkeys(leaves) if self.arrays[leaf] == "parameter"]
        originals = [leaf for leaf in trained if f"{name}.parametrizations." in leaf] or trained
        originals.sort(key=lambda leaf: (len(leaf), leaf))  # original0, original1, as torch numbers them
        return Form(tuple(originals or leaves[:1]), tuple(ops), Ref(places[weight]))

    # ---- operations

    def _add(self, node: fx.Node) -> None:
        """An operation outside of layers; one with a weight of its own becomes a layer."""
        promoted = self._promoted(node)
        if promoted is not None:
            self._note(node, promoted)
            return
        self._need(node)
        self._note(node, self._op(node, self.values))

    def _need(self, node: fx.Node) -> None:
        """Compute what an operation reads of the tensors alone."""
        for given in node.all_input_nodes:
            if given in self.computed and given not in self.values:
                self._need(given)
                self._note(given, self._op(given, self.values))

    def _note(self, node: fx.Node, op: Op) -> None:
        value = node.meta.get("val")
        shape = shape_of(value) if isinstance(value, Tensor) else None
        self.ops.append(Op(op.kind, op.inputs, op.attributes, shape))
        self.values[node] = len(self.ops)

    def _op(self, node: fx.Node, values: dict[fx.Node, int]) -> Op:
        kind = kind_of(node)
        for given in written(node):
            if given in self.of_node:
                raise UserError(
                    f"the net changes its tensor {self.of_node[given].name} when it answers, and a model "
                    f"file holds nets that answer the same twice; change it only if self.training"
                )
        inputs = [self._argument(given, values) for given in node.args]
        attributes = {key: self._argument(given, values) for key, given in node.kwargs.items()}
        flag = operations.MODES.get(kind)
        if flag is not None:
            names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
            place = names.index(flag)
            if place < len(inputs) and inputs[place] is False:
                inputs[place] = Word("mode", "training")
        return Op(kind, tuple(inputs), attributes)

    def _argument(self, given: Any, values: dict[fx.Node, int]) -> Argument:
        if isinstance(given, fx.Node):
            return self.of_node[given] if given in self.of_node else Ref(values[given])
        if isinstance(given, list | tuple):
            return tuple(self._argument(part, values) for part in given)
        if given is None or isinstance(given, bool | int | float | str):
            return given
        found = operations.word(given)
        if found is None:
            raise UserError(f"a net that computes with {given!r} can't be written to a model file")
        return found

    def _promoted(self, node: fx.Node) -> Op | None:
        """An operation with the weight of a module that isn't one of torch's layers, as the call of one."""
        name = name_of(node)
        if name not in WEIGHTED:
            return None
        given = bound(node)
        images, weight = given["input"], given["weight"]
        tensors = {slot: given[slot] for slot in SLOTS if isinstance(given.get(slot), fx.Node)}
        slots = {slot: self.of_node[own].name for slot, own in tensors.items() if own in self.of_node}
        computed = set(tensors) - set(slots)
        if images not in self.values or (
            computed and (computed != {"weight"} or weight not in self.computed)
        ):
            return None
        if name == "batch_norm" and ("running_mean" not in slots or given["training"]):
            return None
        path = self._owner(node, slots)
        if path is None:
            return None
        if name == "batch_norm" and f"{path}.num_batches_tracked" in self.arrays:
            slots["num_batches_tracked"] = f"{path}.num_batches_tracked"
        forms = {"weight": self._form(weight, path)} if computed else {}
        learned = [*slots.values(), *(name for form in forms.values() for name in form.originals)]
        if all(self.arrays[name] != "parameter" for name in learned) and name != "batch_norm":
            return None  # a fixed filter
        layer = weighted_layer(name, given, slots, forms)
        if self.layers.setdefault(path, layer) != layer:
            return None
        return Op("layer", (path, Ref(self.values[images])))

    def _owner(self, node: fx.Node, slots: dict[str, str]) -> str | None:
        """The name under which an operation's layer is kept: that of the module that holds its tensors."""
        if any(name.rpartition(".")[2] != slot for slot, name in slots.items()):
            return None  # attention's in_proj_weight keeps its name
        held = next((slots[slot] for slot in ("weight", "running_mean") if slot in slots), None)
        stack = [
            path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path in self.modules
        ]
        path = held.rpartition(".")[0] if held is not None else (stack or [""])[-1]
        return None if not path or any(other.startswith(f"{path}.") for other in self.layers) else path
