"""The running average of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def exponential_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``model`` that ``update_parameters`` moves by w <- d w + (1 - d) w_new, buffers too.

    d = min(decay, (1 + t) / (10 + t)) after t updates, so that short trainings don't average in the
    initial weights (Polyak & Juditsky 1992; the warm-up is TensorFlow's ExponentialMovingAverage).

    >>> layer = nn.Linear(1, 1); average = exponential_average(layer, 0.9)
    >>> average.update_parameters(layer); bool(average.module.weight == layer.weight)
    True
    """

    @torch.no_grad()
    def move(averages: Sequence[Tensor], values: Sequence[Tensor], updates: Tensor | int) -> None:
        count = int(updates)
        d = min(decay, (1 + count) / (10 + count))
        for average, value in zip(averages, values):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - d)
            else:
                average.copy_(value)

    return AveragedModel(model, multi_avg_fn=move, use_buffers=True)
