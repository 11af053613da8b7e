"""Initialization of a whole net by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convsmith.catalog import technique

Init = Callable[[nn.Module], None]


def _everywhere(fill: Callable[[Tensor], Tensor]) -> Init:
    @torch.no_grad()
    def initialize(model: nn.Module) -> None:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                fill(layer.weight)
                if layer.bias is not None:
                    layer.bias.zero_()

    return initialize


@technique(
    "init", "he", source="He et al. 2015", chapter="7 参数初始化 initialization", use="ReLU and its family"
)
def he() -> Init:
    """Gaussian with variance 2 / fan_out, biases zero.

    Fan-out keeps the size of gradients, fan-in that of activations; He et al. show that either will do,
    and their ResNets use fan-out.

    >>> layer = nn.Linear(1000, 1000); he()(layer); bool((layer.weight.std() - 0.002**0.5).abs() < 1e-3)
    True
    """
    return _everywhere(lambda weight: nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"))


@technique(
    "init",
    "xavier",
    source="Glorot & Bengio 2010",
    chapter="7 参数初始化 initialization",
    use="tanh, sigmoid or no activation",
)
def xavier() -> Init:
    """Uniform with variance 2 / (fan_in + fan_out), biases zero.

    >>> layer = nn.Linear(1000, 1000); xavier()(layer); bool((layer.weight.var() - 1e-3).abs() < 1e-4)
    True
    """
    return _everywhere(nn.init.xavier_uniform_)
