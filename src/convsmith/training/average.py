"""The running average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from convsmith.nn.computed import copied

# Buffers that are means over batches. Other buffers (masks, indices, counts) are copied.
STATISTICS = ("running_mean", "running_var")


class RunningAverage(AveragedModel):
    """A copy of a net that follows its weights as an exponential average; see :func:`exponential_average`."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(copied(model), use_buffers=True)
        self.decay = decay
        self.updates: int | None = None
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda *_: setattr(self, "updates", None)
        )

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Average the parameters and the statistics of normalizations, copy all other buffers."""
        if self.updates is None:
            self.updates = int(self.n_averaged)  # sync: once, after a checkpoint
        updates = self.updates
        keep = min(self.decay, (1 + updates) / (10 + updates)) if updates else 0.0
        for weight, new in zip(self.module.parameters(), model.parameters()):
            _move(weight, new, keep)
        for (name, buffer), value in zip(self.module.named_buffers(), model.buffers()):
            _move(buffer, value, keep if name.rpartition(".")[2] in STATISTICS else 0.0)
        self.n_averaged += 1
        self.updates += 1


def _move(average: Tensor, value: Tensor, keep: float) -> None:
    if keep and average.is_floating_point():
        average.lerp_(value.detach().to(average), 1 - keep)
    else:
        average.copy_(value)


def exponential_average(model: nn.Module, decay: float) -> RunningAverage:
    """Make a copy of ``model``; each ``update_parameters`` moves it by w <- d w + (1 - d) w_new.

    d = min(decay, (1 + t) / (10 + t)) after t updates, so that short trainings don't average in the
    initial weights (Polyak & Juditsky 1992; the warm-up is TensorFlow's ExponentialMovingAverage). Means and
    variances of batch normalizations are averaged with the parameters; other buffers are copied, so that a
    0/1 mask stays one and indices stay valid. Of a parametrized weight the stored parameters are averaged.

    >>> layer = nn.Linear(1, 1); average = exponential_average(layer, 0.9)
    >>> average.update_parameters(layer); bool(average.module.weight == layer.weight)
    True
    """
    return RunningAverage(model, decay)
