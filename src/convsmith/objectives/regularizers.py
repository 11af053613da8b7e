"""Regularizers that act on the net itself, beside the terms; each shows one figure by name in metrics.csv.

One is attached once, before training: ``attach(model, optimizer)``; ``figure()`` is what it did in the last
update, a scalar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.optim import Optimizer

from convsmith.catalog import technique
from convsmith.nn import norms, units
from convsmith.nn.manners import classifier
from convsmith.nn.precision import wide
from convsmith.nn.weights import EVERY, places


class Regularizer(Protocol):
    """Interface of a regularizer for the training loop."""

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None: ...

    def figure(self) -> Tensor: ...


def project(weight: Tensor, limit: float) -> Tensor:
    """Shorten the weights (O, I, ...) of each unit to ``limit`` at most, in place.

    Returns:
        which units were longer, (O,).

    >>> w = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    >>> project(w, 1.0), w
    (tensor([ True, False]), tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]]))
    """
    lengths = norms.by_unit(weight)
    weight.mul_(_factors(lengths, limit).view(-1, *[1] * (weight.ndim - 1)))
    return lengths > limit


def _factors(lengths: Tensor, limit: float) -> Tensor:
    return (limit / lengths.clamp_min(1e-12)).clamp_max(1)


@technique(
    "regularizer",
    "max_norm",
    source="Srebro & Shraibman 2005; Srivastava et al. 2014, section 5.1",
    chapter="9 正则化 regularization",
    use="high rates, with dropout: weights can't explode; 3 to 4 regularizes, the notes' 1000 only guards",
)
class MaxNorm:
    """After each update, the incoming weights of each unit or filter are shortened to |w|_2 <= limit.

    Its figure is the share of units that were too long after the last update. Frozen weights stay as they
    are, and don't count. A computed weight is shortened through what it is computed from, see
    :class:`convsmith.nn.units.Scaler`.

    Args:
        limit: c > 0.
        layers: patterns of the layers' names.

    Raises:
        UserError: when attached, if a pattern fits no layer, or a computed weight can't be shortened.

    >>> layer = nn.Linear(2, 1, bias=False); _ = nn.init.constant_(layer.weight, 3.0)
    >>> layer.weight.grad = torch.zeros(1, 2); optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    >>> MaxNorm(limit=1.0).attach(layer, optimizer); optimizer.step(); round(layer.weight.norm().item(), 4)
    1.0
    """

    def __init__(self, limit: Annotated[float, Gt(0)] = 1000.0, layers: Sequence[str] = EVERY) -> None:
        self.limit = limit
        self.layers = layers
        self.share = torch.zeros(())

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        held = [
            units.Scaler(name, weight, why="max_norm") for name, weight in places(model, self.layers).items()
        ]

        none = self.share.to(next((p.device for p in model.parameters()), None))

        @torch.no_grad()
        def shorten(*_: Any) -> None:
            # Checked at each step, since gradual unfreezing changes it.
            longer = [self._shorten(scaler) for scaler in held if not scaler.frozen]
            self.share = torch.cat(longer).float().mean() if longer else none

        optimizer.register_step_post_hook(shorten)

    def _shorten(self, scaler: units.Scaler) -> Tensor:
        """Shorten one layer's units; which were longer, (O,)."""
        value = scaler.weight.value()
        lengths = units.lengths(scaler.weight.layer, value)
        scaler(_factors(lengths, self.limit))
        return lengths > self.limit

    def figure(self) -> Tensor:
        return self.share


@technique(
    "regularizer",
    "classifier_noise",
    source="the notes, on noise at the classifier layer; Poole et al. 2014, Analyzing noise in autoencoders",
    chapter="9 正则化 regularization",
    use="few data: the classifier may not rely on any exact feature",
)
class ClassifierNoise:
    """Training adds Gaussian noise to what the classifier reads, of ``ratio`` times the features' RMS.

    Its figure is the deviation of the last batch's noise, in units of the features.

    Args:
        ratio: >= 0.

    Raises:
        UserError: when attached, if the net has no classifier.
    """

    def __init__(self, ratio: Annotated[float, Ge(0)] = 0.1) -> None:
        self.ratio = ratio
        self.deviation = torch.zeros(())

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        classifier(model).register_forward_pre_hook(self._disturb)

    def _disturb(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not head.training:
            return None
        (features,) = inputs
        if not len(features):  # of which a process may have none, see objectives.mean
            return None
        self.deviation = self.ratio * wide(features.detach()).square().mean().sqrt()
        return (features + (self.deviation * torch.randn_like(features)).to(features.dtype),)

    def figure(self) -> Tensor:
        return self.deviation
