"""How easily a net trains: whether it normalizes its maps, and whether few layers lie one after the other."""

from __future__ import annotations

from torch import nn

from convsmith.nn.computed import LAYERS

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)
# Most layers with weights of a net in which neither signals nor gradients have room to grow.
SHALLOW = 5


def normalizes(model: nn.Module) -> bool:
    """Whether a net normalizes its maps by their own statistics, so that large steps don't make them explode.

    >>> normalizes(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    True
    """
    return any(isinstance(layer, NORMS) for layer in model.modules())


def is_shallow(model: nn.Module) -> bool:
    """Whether a net has at most 5 layers with weights, as the LeNets have.

    >>> is_shallow(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))
    True
    """
    return sum(isinstance(layer, LAYERS) for layer in model.modules()) <= SHALLOW
