"""The learning-rate range test: one short training under a rate that grows at every step."""

from __future__ import annotations

from dataclasses import dataclass, field

from convsmith.advice.learning_rate import Sweep, smoothed, sweep
from convsmith.errors import UserError
from convsmith.training.loop import Diverged, Fit, train_epoch


@dataclass
class _Rise:
    """Schedule that rises exponentially from ``low`` to ``high`` over ``steps`` batches."""

    low: float
    high: float
    steps: int
    length: int
    base: float

    def __call__(self, epoch: float, epochs: float) -> float:
        step = epoch * self.length
        return float(self.low * (self.high / self.low) ** (step / max(1, self.steps - 1)) / self.base)


@dataclass
class _Watch:
    """Record rate and loss of every batch, and end the test when the loss is far above its best."""

    steps: int
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    over: bool = False

    def note(self, state: Fit) -> None:
        assert state.loss is not None
        self.rates.append(max(group["lr"] for group in state.optimizer.param_groups))
        self.losses.append(state.loss.item())  # sync: the test may end at any batch
        smooth = smoothed(self.losses)
        # A trained net's loss may rise fourfold by chance: it must be above its first as well.
        gone = smooth[-1] > max(4 * smooth.min(), 2 * smooth[0])
        self.over = len(self.losses) >= self.steps or bool(gone)
        if self.over:
            raise _Over


class _Over(Exception):
    pass


def lr_range(state: Fit, *, low: float = 1e-6, high: float = 10.0, steps: int = 100) -> Sweep:
    """Train ``state`` under rates from ``low`` to ``high``; its weights are worthless afterwards.

    End early where the smoothed loss is four times its best and twice its first, or no longer a number (Smith
    2017, Cyclical learning rates, section 3.3).

    Args:
        state: a training before its first step.
        low, high: rates.
        steps: batches.

    Raises:
        UserError: if the loss is NaN or infinite from the start, or no rate of the sweep is clearly a good
        one.
    """
    base = max(group["initial_lr"] for group in state.optimizer.param_groups)
    state.schedule = _Rise(low, high, steps, len(state.train), base)
    state.validate_every = None
    watch = _Watch(steps)

    def call(event: str) -> None:
        if event == "on_batch_end":
            watch.note(state)

    try:
        while True:
            train_epoch(state, call)
            state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}
    except (_Over, Diverged):
        pass
    if len(watch.losses) < 10:
        raise UserError(
            f"the loss was lost after {len(watch.losses)} batches at rates from {low:g}: the net or its "
            f"initialization is at fault, not the rate; see `model.NAME.init=he` and `model.NAME.norm=batch`"
        )
    found = sweep(watch.rates, watch.losses)
    if found.unclear is not None:
        raise UserError(f"no rate is proposed: {found.unclear}")
    return found
