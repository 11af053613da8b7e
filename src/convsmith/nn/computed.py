"""Weights that a layer computes from other tensors, by torch's parametrizations or by its older hooks.

A parametrized layer keeps its parameters in ``layer.parametrizations``, has another class than before, and
computes ``layer.weight`` at each reading; ``torch.nn.utils.prune`` and the first ``weight_norm`` and
``spectral_norm`` compute it in a hook before the layer's forward, so that between two calls
``layer.weight`` is that of the last one. The functions here treat both, and plain layers, alike.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from convsmith.errors import UserError

M = TypeVar("M", bound=nn.Module)

# Layers whose work is a multiplication with their weight; transposed convolutions are among the first.
LAYERS = (_ConvNd, nn.Linear)


def named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """``model.named_modules()`` without the modules of parametrizations.

    >>> layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    >>> [name for name, _ in named_layers(nn.Sequential(layer))]
    ['', '0']
    """
    inside: set[int] = set()
    for name, module in model.named_modules():
        if id(module) not in inside:
            forms = _forms(module)
            if forms is not None:
                inside.update(id(part) for part in forms.modules())
            yield name, module


def _forms(layer: nn.Module) -> nn.ModuleDict | None:
    """The layer's parametrizations; faster than torch's ``is_parametrized`` on the many that have none."""
    forms = layer._modules.get("parametrizations")
    return forms if isinstance(forms, nn.ModuleDict) else None


def _hooks(layer: nn.Module) -> dict[str, Any]:
    """Hooks of torch's older kind by the name of the tensor that each computes."""
    found: dict[str, Any] = {}
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod):
            found[hook._tensor_name] = hook
        elif isinstance(hook, WeightNorm | SpectralNorm):
            found[hook.name] = hook
    return found


def computed(layer: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Names of the tensors that ``layer`` computes, each with the parameters it is computed from.

    >>> list(computed(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))), computed(nn.ReLU())
    (['weight'], {})
    """
    found: dict[str, list[nn.Parameter]] = {}
    forms = _forms(layer)
    if forms is not None:
        found = {key: list(form.parameters()) for key, form in forms.items()}
    for key in _hooks(layer):
        own = (layer._parameters.get(f"{key}_{part}") for part in ("orig", "g", "v"))
        found[key] = [parameter for parameter in own if parameter is not None]
    return found


def forms_of(layer: nn.Module, key: str = "weight") -> str:
    """Names of the classes that compute a tensor of ``layer``, for messages."""
    forms = _forms(layer)
    if forms is not None and key in forms:
        return " and ".join(type(form).__name__ for form in forms[key].children())
    return type(_hooks(layer)[key]).__name__


def own_parameters(layer: nn.Module) -> list[nn.Parameter]:
    """The layer's own parameters and those behind the tensors that it computes; none of its children's."""
    own = {id(parameter): parameter for parameter in layer.parameters(recurse=False)}
    for behind in computed(layer).values():
        own.update((id(parameter), parameter) for parameter in behind)
    return list(own.values())


def plain_type(layer: nn.Module) -> type[nn.Module]:
    """The layer's class without parametrizations.

    >>> plain_type(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))).__name__
    'Linear'
    """
    return parametrize.type_before_parametrizations(layer)


def read(layer: nn.Module, key: str = "weight") -> Tensor:
    """The tensor ``key`` of ``layer``, computed now from its parameters, with its gradient's history.

    >>> layer = torch.nn.utils.prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
    >>> with torch.no_grad(): _ = layer.weight_orig.mul_(2)
    >>> bool((read(layer) == layer.weight_orig * layer.weight_mask).all())
    True
    """
    hook = _hooks(layer).get(key) if layer._forward_pre_hooks else None
    if isinstance(hook, BasePruningMethod):
        masked: Tensor = hook.apply_mask(layer)  # type: ignore[no-untyped-call]
        return masked
    if isinstance(hook, WeightNorm):
        scaled: Tensor = hook.compute_weight(layer)
        return scaled
    if isinstance(hook, SpectralNorm):
        # No power iteration: reading twice must give the same.
        divided: Tensor = hook.compute_weight(layer, do_power_iteration=False)
        return divided
    tensor: Tensor = getattr(layer, key)
    return tensor


@torch.no_grad()
def write_(layer: nn.Module, value: Tensor, key: str = "weight", *, name: str = "this layer") -> None:
    """Set the tensor ``key`` of ``layer`` to ``value``, as exactly as its parametrization can.

    Plain tensors are copied into; parametrizations pass the value through their ``right_inverse``; pruned
    layers take it before their mask.

    Args:
        name: of the layer, for the message.

    Raises:
        UserError: if a parametrization has no ``right_inverse``, it refuses the value, or makes it infinite.

    >>> layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 1, bias=False))
    >>> write_(layer, torch.tensor([[3.0, 4.0]])); layer.weight.tolist()
    [[3.0, 4.0]]
    """
    hook = _hooks(layer).get(key)
    forms = _forms(layer)
    if isinstance(hook, BasePruningMethod | SpectralNorm):
        getattr(layer, f"{key}_orig").copy_(value)
    elif isinstance(hook, WeightNorm):
        getattr(layer, f"{key}_v").copy_(value)
        getattr(layer, f"{key}_g").copy_(torch.norm_except_dim(value, 2, hook.dim))
    elif forms is not None and key in forms:
        try:
            # A copy: right_inverse may hand its argument on as what is stored.
            setattr(layer, key, value.clone())
        except Exception as error:  # right_inverse is anyone's code
            raise UserError(
                f"the {key} of {name} is computed by {forms_of(layer, key)}, which can't take a new value "
                f"({str(error).splitlines()[0]}); give it a right_inverse, or set the {key} before it is "
                f"parametrized"
            ) from None
    else:
        getattr(layer, key).copy_(value)
        return
    if value.isfinite().all() and not read(layer, key).isfinite().all():
        raise UserError(
            f"the {key} of {name} is computed by {forms_of(layer, key)}, which can't hold the new value: it "
            f"gives numbers that are not finite (weight normalization has no zero); set the {key} before "
            f"it is parametrized"
        )


def copied(model: M) -> M:
    """A deep copy; also of pruned layers, whose computed weight has a history that deepcopy refuses.

    >>> pruned = torch.nn.utils.prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
    >>> bool((copied(pruned).weight == pruned.weight).all())
    True
    """
    old = [getattr(layer, key) for layer in model.modules() for key in _hooks(layer)]
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in old})
