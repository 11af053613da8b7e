"""Whether a traced net trains as the net that it was traced from, and which layers it doesn't repeat."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.nn import operations
from convsmith.nn.computed import copied
from convsmith.nn.exporting import exported
from convsmith.nn.layer_of import is_layer
from convsmith.nn.nodes import bound, working
from convsmith.nn.traced import Traced

# Relative difference, in float64, that another order of sums may make of a gradient.
TOLERANCE = 1e-6
COMPUTED = ".parametrizations."


def noticed(model: nn.Module, again: Traced, shape: tuple[int, int, int]) -> tuple[Finding, ...]:
    """A finding if the two nets answer or learn otherwise in training mode, with the layers' names.

    One step of each is compared, on a copy in float64 with the same random numbers: dropout draws the same,
    while stochastic depth, ``if self.training`` and a ``torch.autograd.Function`` with a backward of its own
    are not in a program.

    Args:
        model: the net; not changed.
        again: the net of its program.
        shape: of an image, (C, H, W).
    """
    # Small images where the net takes them: an eighth of the time, and what differs is tried again in full.
    small = (shape[0], min(shape[1], 64), min(shape[2], 64))
    apart = None if small == shape else _apart(model, again, small)
    if small == shape or apart is None or apart[0]:
        apart = _apart(model, again, shape)
    if apart is None or not apart[0]:
        return ()
    layers = _otherwise(model, shape) or apart[1]
    return (
        Finding(
            seen=f"{_listed(layers)} in training what a program can't carry",
            means="the net opened from this file answers as this one, and trains without that",
            change="to train it further, make it by your own code and load the file's weights into it",
            why="a program holds what a net does when it answers: random depth, branches on self.training "
            "and backward passes of their own are code",
            name="trains_otherwise",
        ),
    )


def _apart(model: nn.Module, again: nn.Module, shape: tuple[int, int, int]) -> tuple[bool, list[str]] | None:
    """Whether two nets differ in a step of training, and the layers whose gradients do, where outputs don't.

    None where a net doesn't train on such images in float64, so that nothing can be said.
    """
    try:
        mine, theirs = _step(model, shape), _step(again, shape)
    except (RuntimeError, ValueError, TypeError):
        return None
    if _differ(mine[0], theirs[0]):
        return True, []
    common = [name for name in mine[1] if name in theirs[1] and _differ(mine[1][name], theirs[1][name])]
    return bool(common) or _differ(mine[2], theirs[2]), list(dict.fromkeys(map(_owner, common)))


def _listed(layers: list[str]) -> str:
    if not layers:
        return "the net does"
    known = ", ".join(layers[:5]) + (f" and {len(layers) - 5} more" if len(layers) > 5 else "")
    return f"layer {known} does" if len(layers) == 1 else f"layers {known} do"


def _step(model: nn.Module, shape: tuple[int, int, int]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Outputs in training mode, gradients by parameter, and the images' gradient, for two images."""
    # Dropout draws in the order of memory: both in the same format.
    own = copied(model).double().to(memory_format=torch.contiguous_format).train()
    device = next((tensor.device for tensor in own.parameters()), torch.device("cpu"))
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(2, *shape, generator=draws, dtype=torch.double).to(device).requires_grad_()
    for parameter in own.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        outputs = own(images)
        weights = torch.linspace(-1, 2, outputs.numel(), dtype=torch.double, device=device)
        if outputs.requires_grad:
            (outputs.reshape(-1) * weights).sum().backward()
    found = {
        name: parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        for name, parameter in own.named_parameters()
    }
    return outputs.detach(), found, images.grad if images.grad is not None else torch.zeros_like(images)


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return True
    scale = max(1.0, float(one.abs().nan_to_num().max()) if one.numel() else 1.0)
    return not torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)


def _owner(parameter: str) -> str:
    return parameter.partition(COMPUTED)[0].rpartition(".")[0] if "." in parameter else parameter


def _otherwise(model: nn.Module, shape: tuple[int, int, int]) -> list[str]:
    """Names of the modules whose operations outside of layers are others in training."""
    try:
        modes = [_by_module(model, exported(model, shape, training=mode)) for mode in (False, True)]
    except UserError:
        return []
    names = dict.fromkeys(name for mode in modes for name in mode)
    return [name for name in names if name and modes[0].get(name) != modes[1].get(name)]


def _by_module(model: nn.Module, graph: torch.export.ExportedProgram) -> dict[str, Counter[str]]:
    """For each module that is no layer, how often it does what."""
    modules = dict(model.named_modules(remove_duplicate=False))
    layers = {
        name
        for name, module in modules.items()
        if name and is_layer(module) and not parametrize.is_parametrized(module)
    }
    found: dict[str, Counter[str]] = {}
    for node in working(graph.graph_module.graph):
        stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        if not layers & set(stack):
            name = next((path for path in reversed(stack) if path in modules), "")
            found.setdefault(name.partition(COMPUTED)[0], Counter())[_said(node)] += 1
    return found


def _said(node: fx.Node) -> str:
    """An operation with its constants, without the flag that a program carries."""
    kind = str(node.target)
    if not isinstance(node.target, torch._ops.OpOverload):
        return kind
    flag = operations.MODES.get(kind)
    plain = {
        key: value
        for key, value in bound(node).items()
        if key != flag and isinstance(value, bool | int | float | str)
    }
    return f"{kind} {plain}"
