"""What a net is, as data: a name of the catalogue, a program, or members; and the net again from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.inference.ensemble import Ensemble
from convsmith.inference.pipeline import Pipeline, dtype_of
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.trace import trace
from convsmith.nn.traced import Traced
from convsmith.nn.training_alike import noticed
from convsmith.program import Program

# Largest difference of outputs, relative to their size, that another order of sums may make.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
COARSE = 3e-2  # of 16 bits


@dataclass(frozen=True)
class Structure:
    """What model.json says of a net, and how its tensors are found in the net.

    ``net`` is JSON's types. ``names`` are of the tensors that a program reads, None for all; ``constants``
    those that the net computes with but doesn't hold; ``members`` the structures of an ensemble; ``findings``
    what of the net the file doesn't carry.
    """

    net: Mapping[str, Any]
    names: tuple[str, ...] | None = None
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    members: tuple[Structure, ...] = ()
    findings: tuple[Finding, ...] = ()

    def tensors(self, net: Pipeline | Ensemble) -> dict[str, Tensor]:
        """The tensors of ``net``, which is of this structure, by the names that they have in a file."""
        if isinstance(net, Ensemble):
            return {
                f"members.{number}.{name}": tensor
                for number, (own, member) in enumerate(zip(self.members, net.members))
                for name, tensor in own.tensors(member).items()  # type: ignore[arg-type]
            }
        if self.names is None:
            found = dict(net.model.state_dict())
        else:
            held: dict[str, Tensor] = dict(net.model.named_parameters(remove_duplicate=False))
            held.update(net.model.named_buffers(remove_duplicate=False))
            found = {
                name: self.constants[name] if name in self.constants else held[name] for name in self.names
            }
        own = {f"model.{name}": tensor.detach() for name, tensor in found.items()}
        return {**own, "normalizer.mean": net.normalizer.mean, "normalizer.std": net.normalizer.std}


def structure_of(net: Pipeline | Ensemble) -> Structure:
    """How a net is written: by its name in the catalogue where that makes the same net, else as a program.

    Raises:
        UserError: if it can't be, with the layer's name.
    """
    if isinstance(net, Ensemble):
        members = tuple(structure_of(member) for member in net.members)  # type: ignore[arg-type]
        parts = {"members": [dict(member.net) for member in members], "numeric": net.numeric}
        findings = tuple(finding for member in members for finding in member.findings)
        return Structure({**parts, "combine": "average"}, members=members, findings=findings)
    reads: dict[str, Any] = {"size": net.size}
    if not net.channels_last:
        reads["channels_last"] = False
    spec = _spec(net)
    if spec is not None and catalog.opens_everywhere(spec):
        return Structure({"spec": spec, **reads})
    shape = (_channels(net), net.size, net.size)
    try:
        program, tensors = trace(net.model, shape)
    except UserError as error:
        if spec is None:
            raise
        return Structure({"spec": spec, **reads}, findings=(_by_name_alone(spec, error),))
    own = set(dict(net.model.named_parameters())) | set(dict(net.model.named_buffers()))
    constants = {name: tensor for name, tensor in tensors.items() if name not in own}
    try:
        again = Traced(program, tensors)
    except KeyError as error:  # torch's: attribute 'num_classes' already exists
        raise UserError(
            f"a layer or tensor of the net has a name that a net read from a file uses itself "
            f"({error.args[0]}); rename it"
        ) from None
    said = noticed(net.model, again, shape)
    return Structure({"program": program.to_json(), **reads}, tuple(tensors), constants, findings=said)


def _by_name_alone(spec: Mapping[str, Any], refused: UserError) -> Finding:
    (name,) = spec
    return Finding(
        seen=f"the model file holds {name} by its name alone, with a technique of your own: {refused}",
        means="the file opens only where the technique's definition has run",
        change="run its definition before the file is opened, or install it as a package",
        why="a name stands for code, and a model file holds none",
        name="by_name_alone",
    )


def net_of(given: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Pipeline | Ensemble:
    """The net that a structure describes, with its tensors.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: if they don't fit together.
    """
    if "members" in given:
        if given["combine"] != "average":
            raise ValueError(f"members are combined by {given['combine']!r}, which this version doesn't know")
        parts = [net_of(own, inside(tensors, f"members.{n}.")) for n, own in enumerate(given["members"])]
        return Ensemble(parts, numeric=bool(given["numeric"]))
    own = inside(tensors, "model.")
    if "spec" in given:
        ((name, arguments),) = given["spec"].items()
        _promised(name, arguments, own)
        model = _rebuilt(name, arguments)
        _fill(model, own)
    else:
        model = Traced(Program.from_json(given["program"]), own)
    last = bool(given.get("channels_last", True))
    model = model.to(memory_format=torch.channels_last) if last else model
    return Pipeline(model, normalizer_of(tensors), int(given["size"]), channels_last=last)


def normalizer_of(tensors: Mapping[str, Tensor]) -> Normalizer:
    """The normalizer among a file's tensors.

    Raises:
        KeyError, ValueError: if it isn't there, or of other shapes.
    """
    mean, std = tensors["normalizer.mean"], tensors["normalizer.std"]
    if std.ndim != 1 or mean.ndim not in (1, 3) or mean.shape[-1] != std.shape[0]:
        raise ValueError(f"a normalizer has no mean {tuple(mean.shape)} with a deviation {tuple(std.shape)}")
    return Normalizer(mean, std)


def inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _promised(name: str, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse arguments that don't make these tensors, before memory is taken for what they do make."""
    try:
        with torch.device("meta"):
            own = _rebuilt(name, arguments).state_dict()
    except RuntimeError:
        return  # an initialization that reads numbers, as he's does the slope of a PReLU: meta has none
    for key, tensor in own.items():
        if key not in tensors or tensors[key].shape != tensor.shape:
            raise ValueError(
                f"{name} has a tensor {key} {tuple(tensor.shape)}, and the weights have none such"
            )


def _rebuilt(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A net of the catalogue, its random weights drawn without a trace in torch's generator."""
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = catalog.rebuild("model", name, arguments)
    return model


def _fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take the tensors as they are, in their own type."""
    model.load_state_dict(tensors, assign=True)
    kept = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(kept) == 1:
        model.to(kept.pop())  # buffers that aren't in the file compute in it too


def _spec(net: Pipeline) -> dict[str, Any] | None:
    """The name and the arguments with which the catalogue makes the same net; None if it doesn't."""
    model = net.model
    try:
        kind, name, arguments = catalog.call_of(model)
        if kind != "model":
            return None
        again = _rebuilt(name, arguments)
    except (TypeError, UserError):
        return None
    own, other = model.state_dict(), again.state_dict()
    if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in other.items()}:
        return None
    if repr(again) != repr(model) or _parameters(again) != _parameters(model):
        return None  # a dropout's rate, a batch norm's momentum; weights that were tied
    _fill(again, own)
    device = next((tensor.device for tensor in own.values()), torch.device("cpu"))
    # What it was made from doesn't tell what was done to it since: the answers do.
    copy = Pipeline(
        again.to(device),
        Normalizer(net.normalizer.mean, net.normalizer.std),
        net.size,
        channels_last=net.channels_last,
    )
    return (
        {name: arguments} if _difference(net, copy, net.size, _channels(net)) <= _tolerance(model) else None
    )


def _parameters(model: nn.Module) -> list[str]:
    """Names of the parameters; of one that two layers share, the first."""
    return [name for name, _ in model.named_parameters()]


def _channels(net: Pipeline) -> int:
    return int(net.normalizer.std.shape[0])


def check(
    net: Pipeline | Ensemble, again: Pipeline | Ensemble, size: int, channels: int, outputs: int
) -> None:
    """Refuse what was written but answers otherwise when it is read, or not with ``outputs`` numbers.

    Raises:
        UserError: with the difference.
    """
    device = next((tensor.device for tensor in net.buffers()), torch.device("cpu"))
    found = _difference(net, again.to(device), size, channels)
    if not found <= _tolerance(net):
        raise UserError(
            f"the net can't be written to a model file: read again it answers otherwise (by {found:.2g} of "
            f"its outputs' size). It may draw random numbers, keep a state, or branch on the number of "
            f"images when it answers"
        )
    shape = tuple(again.outputs(torch.zeros(1, size, size, channels, dtype=torch.uint8)).shape)
    if shape != (1, outputs):
        raise UserError(
            f"the net gives {shape} for one image, and its signature names {outputs} outputs, so (1, "
            f"{outputs}); give it that many outputs, or name each of them"
        )


def _difference(net: Pipeline | Ensemble, other: Pipeline | Ensemble, size: int, channels: int) -> float:
    """Largest difference of two nets' outputs, over their size, for batches of three and of one image."""
    draws = torch.Generator().manual_seed(0)
    # Neither is the size of batch that a net is traced with.
    pixels = torch.randint(0, 256, (3, size, size, channels), dtype=torch.uint8, generator=draws)
    return max(_apart(net, other, pixels), _apart(net, other, pixels[:1]))


def _apart(net: Pipeline | Ensemble, other: Pipeline | Ensemble, pixels: Tensor) -> float:
    answers = []
    for one in (net, other):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            answers.append(one.outputs(pixels))
    mine, theirs = answers
    if mine.shape != theirs.shape:
        return float("inf")
    same = (mine == theirs) | (mine.isnan() & theirs.isnan())
    difference = torch.where(same, 0.0, (mine - theirs).abs())
    scale = mine[mine.isfinite()].abs().max().clamp_min(1e-6) if mine.isfinite().any() else torch.ones(())
    return float((difference / scale).nan_to_num(float("inf")).max())


def _tolerance(net: nn.Module) -> float:
    return TOLERANCE.get(dtype_of(net), COARSE)
