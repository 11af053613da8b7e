"""Penalties on the weights, each a term of the objective.

They read the weights as the layers use them. In a parametrized or pruned layer that is the computed weight,
and the gradient reaches the stored parameters through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.nn import norms
from convsmith.nn.weights import EVERY, weights


def _norms(model: nn.Module, layers: Sequence[str], everything: bool, p: float) -> Tensor:
    """The p-norm of each weight, as one vector; a net without weights has one of length 0."""
    found = weights(model, layers, everything=everything)
    if not found:
        return torch.zeros(1, device=next((p.device for p in model.parameters()), None))
    return norms.total(found.values(), p)


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
        layers: patterns of the layers' names, e.g. ``["fc", "layer3.*"]``.
        everything: biases and norms of these layers too.

    Raises:
        UserError: if a pattern fits no layer.

    >>> layer = nn.Linear(2, 1); _ = nn.init.constant_(layer.weight, 3.0)
    >>> round(L2(weight=0.5)(layer).item(), 4)
    4.5
    """

    def __init__(
        self,
        weight: Annotated[float, Ge(0)] = 5e-4,
        layers: Sequence[str] = EVERY,
        everything: bool = False,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.layers = layers
        self.everything = everything

    def forward(self, model: nn.Module) -> Tensor:
        return _norms(model, self.layers, self.everything, 2).square().sum() * (self.weight / 2)


@technique(
    "term",
    "l1",
    source="Tibshirani 1996",
    chapter="9 正则化 regularization",
    use="sparse weights: many become small enough to remove",
)
class L1(nn.Module):
    """weight * sum(|w|) over the weights of convolutions and fully connected layers.

    Args:
        weight: lambda, >= 0.
        layers: patterns of the layers' names.
        everything: biases and norms of these layers too.

    Raises:
        UserError: if a pattern fits no layer.

    >>> layer = nn.Linear(2, 1); _ = nn.init.constant_(layer.weight, -3.0)
    >>> round(L1(weight=0.5)(layer).item(), 4)
    3.0
    """

    def __init__(
        self,
        weight: Annotated[float, Ge(0)] = 1e-5,
        layers: Sequence[str] = EVERY,
        everything: bool = False,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.layers = layers
        self.everything = everything

    def forward(self, model: nn.Module) -> Tensor:
        return _norms(model, self.layers, self.everything, 1).sum() * self.weight


@technique(
    "term",
    "elastic_net",
    source="Zou & Hastie 2005",
    chapter="9 正则化 regularization",
    use="sparse weights, but no arbitrary choice among correlated ones",
)
class ElasticNet(nn.Module):
    """l1 * sum(|w|) + l2 / 2 * sum(w^2): the sum of the terms ``l1`` and ``l2``.

    Args:
        l1, l2: strengths, >= 0.
        layers: patterns of the layers' names.
        everything: biases and norms of these layers too.

    Raises:
        UserError: if a pattern fits no layer.

    >>> layer = nn.Linear(2, 1); _ = nn.init.constant_(layer.weight, 3.0)
    >>> round(ElasticNet(l1=0.5, l2=0.5)(layer).item(), 4)
    7.5
    """

    def __init__(
        self,
        l1: Annotated[float, Ge(0)] = 1e-5,
        l2: Annotated[float, Ge(0)] = 5e-4,
        layers: Sequence[str] = EVERY,
        everything: bool = False,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList([L1(l1, layers, everything), L2(l2, layers, everything)])

    def forward(self, model: nn.Module) -> Tensor:
        sparse, small = self.parts
        total: Tensor = sparse(model) + small(model)
        return total
