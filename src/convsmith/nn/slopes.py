"""The slopes that a net's PReLU layers have learned."""

from __future__ import annotations

from torch import Tensor, nn

from convsmith.nn.computed import named_layers


def learned_slopes(model: nn.Module) -> dict[str, Tensor]:
    """The slopes below zero of each PReLU, (1,) for a shared one or (C,), in the order of the net's layers.

    He et al. 2015 (Delving deep into rectifiers, table 1) list them by depth: first layers keep slopes well
    above zero, so that the negative side of their edge-like filters is passed on, and deeper ones come
    closer to ReLU, whose slope is 0.

    >>> learned_slopes(nn.Sequential(nn.PReLU(init=0.25), nn.ReLU()))
    {'0': tensor([0.2500])}
    """
    return {
        name: layer.weight.detach().float().cpu()
        for name, layer in named_layers(model)
        if isinstance(layer, nn.PReLU)
    }
