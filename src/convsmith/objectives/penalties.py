"""Penalties on the weights."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn.weights import weights


@technique(
    "term",
    "l2",
    source="Krogh & Hertz 1991",
    chapter="9 正则化 regularization",
    use="almost always; more of it when the net over-fits",
)
class L2(nn.Module):
    """weight / 2 * sum(w^2) over the weights of convolutions and fully connected layers.

    Its gradient is ``weight * w``, that of torch's ``weight_decay``; biases and norms are left out.

    Args:
        weight: lambda, >= 0; the notes' default is 0.0005.

    >>> layer = nn.Linear(2, 1); _ = nn.init.constant_(layer.weight, 3.0)
    >>> round(L2(weight=0.5)(layer).item(), 4)
    4.5
    """

    def __init__(self, weight: Annotated[float, Ge(0)] = 5e-4) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, model: nn.Module) -> Tensor:
        # One fused call for all layers: sixty small kernels would cost as much as a small convolution.
        norms = torch._foreach_norm(list(weights(model).values()))
        return torch.stack(list(norms)).square().sum() * (self.weight / 2)
