"""Which modules are kept as layers in a program, and what makes each of them again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsmith import catalog
from convsmith.program import Argument, Form, Layer

# Operations with a weight that are layers, whatever module calls them.
WEIGHTED = {
    "conv1d": "Conv1d",
    "conv2d": "Conv2d",
    "conv3d": "Conv3d",
    "linear": "Linear",
    "batch_norm": "BatchNorm",
}
SLOTS = ("weight", "bias", "running_mean", "running_var")


def is_layer(module: nn.Module) -> bool:
    """Whether a module is kept as it is: one of torch's own layers, or of this package, without hooks.

    A layer that reads two tensors (``nn.Bilinear``) is none, nor one whose forward was replaced: what they
    compute is kept as operations.
    """
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return False
    if len(_required(type(module).forward)) > 1:
        return False
    inner = [name for name, _ in module.named_children() if name != "parametrizations"]
    sort = type(module).__mro__[1] if parametrize.is_parametrized(module) else type(module)
    if inner and not sort.__module__.startswith("convsmith.nn."):
        return False
    if sort.__module__.startswith("torch.nn.modules."):
        return getattr(nn, sort.__name__, None) is sort and _arguments(module, sort) is not None
    if not sort.__module__.startswith("convsmith.nn."):
        return False
    return not parametrize.is_parametrized(module) and _technique(module) is not None


@functools.cache
def _required(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the arguments that a layer's forward can't do without."""
    own = list(inspect.signature(forward).parameters.values())[1:]
    single = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in own if p.default is inspect.Parameter.empty and p.kind in single)


def made_by(module: nn.Module) -> tuple[str, dict[str, Argument]]:
    sort = type(module).__mro__[1] if parametrize.is_parametrized(module) else type(module)
    if sort.__module__.startswith("torch.nn.modules."):
        found = _arguments(module, sort)
    else:
        found = _technique(module)
    assert found is not None
    return found


def _arguments(module: nn.Module, sort: type[nn.Module]) -> tuple[str, dict[str, Argument]] | None:
    """The class of one of torch's layers and the arguments that make it; None where they aren't plain."""
    found: dict[str, Argument] = {}
    for name, parameter in inspect.signature(sort.__init__).parameters.items():
        if name in ("self", "device", "dtype") or parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            continue
        if name != "bias" and not hasattr(module, name):
            if parameter.default is inspect.Parameter.empty:
                return None
            continue
        value = module.bias is not None if name == "bias" else getattr(module, name)
        if not _is_plain(value):
            return None
        # Defaults stay out: another version of torch may not have the argument yet.
        if (type(value), value) != (type(parameter.default), parameter.default):
            found[name] = tuple(value) if isinstance(value, list | tuple) else value
    return sort.__name__, {**found, **_measured(module)}


def _measured(module: nn.Module) -> dict[str, Argument]:
    """Channels as the weights have them: what was pruned may still say what it was."""
    weight = getattr(module, "weight", None)
    shape: tuple[int, ...] = tuple(weight.shape) if isinstance(weight, Tensor) else ()
    if isinstance(module, nn.Linear):
        return {"in_features": shape[1], "out_features": shape[0]}
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return {"in_channels": shape[0], "out_channels": shape[1] * module.groups}
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return {"in_channels": shape[1] * module.groups, "out_channels": shape[0]}
    if isinstance(module, nn.modules.batchnorm._NormBase) and (shape or module.running_mean is not None):
        mean = module.running_mean
        return {"num_features": shape[0] if shape else len(mean) if mean is not None else 0}
    if isinstance(module, nn.PReLU):
        return {"num_parameters": shape[0]}
    if isinstance(module, nn.GroupNorm) and shape:
        return {"num_channels": shape[0]}
    if isinstance(module, nn.LayerNorm) and shape:
        return {"normalized_shape": shape}
    return {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _technique(module: nn.Module) -> tuple[str, dict[str, Argument]] | None:
    """The technique that made a layer of this package, and its arguments."""
    try:
        kind, name, arguments = catalog.call_of(module)
    except TypeError:
        return None
    found = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    plain = all(map(_is_plain, found.values())) and catalog.opens_everywhere(arguments)
    return (f"{kind}:{name}", found) if plain else None


def weighted_layer(name: str, given: dict[str, Any], slots: dict[str, str], forms: dict[str, Form]) -> Layer:
    """The layer of torch that an operation with a weight is."""
    if name == "batch_norm":
        dimensions = given["input"].meta["val"].ndim
        attributes: dict[str, Argument] = {
            "num_features": given["running_mean"].meta["val"].shape[0],
            "eps": given["eps"],
            "momentum": given["momentum"],
            "affine": "weight" in slots,
        }
        return Layer(f"BatchNorm{max(1, dimensions - 2)}d", attributes, slots, forms)
    shape = given["weight"].meta["val"].shape
    bias = given["bias"] is not None
    if name == "linear":
        return Layer(
            "Linear", {"in_features": shape[1], "out_features": shape[0], "bias": bias}, slots, forms
        )
    padding = given["padding"]
    attributes = {
        "in_channels": shape[1] * given["groups"],
        "out_channels": shape[0],
        "kernel_size": tuple(shape[2:]),
        "stride": tuple(given["stride"]),
        "padding": padding if isinstance(padding, str) else tuple(padding),
        "dilation": tuple(given["dilation"]),
        "groups": given["groups"],
        "bias": bias,
    }
    return Layer(WEIGHTED[name], attributes, slots, forms)
