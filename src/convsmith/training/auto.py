"""Rules about the learning curves, applied while the net is trained (``train.auto``)."""

from __future__ import annotations

from convsmith.advice.live import decays, exploded, overfits
from convsmith.errors import UserError
from convsmith.training.loop import Diverged, Fit

# Batches between two looks at the loss: each waits for the device.
EVERY = 10
DECAY = 0.1


class Auto:
    """Give up when the loss explodes, lower the rate when it is flat, stop when the net over-fits.

    On an explosion it raises :class:`Diverged`, and the caller starts again with a smaller rate. Decisions
    at an epoch's end depend on the history alone, so that a resumed run makes the same ones.
    """

    def __init__(self) -> None:
        self.first: float | None = None

    def on_start(self, state: Fit) -> None:
        if state.fabric.world_size > 1:
            raise UserError(
                "train.auto is for one process: several would have to start again together; leave it out"
            )
        self.on_epoch_end(state)

    def on_batch_end(self, state: Fit) -> None:
        if state.loss is None or state.epoch > 0:
            return
        if self.first is None:
            self.first = state.loss.item()  # sync: once
        elif state.batch % EVERY == 0 and exploded(self.first, loss := state.loss.item()):  # sync: seldom
            raise Diverged(
                f"the loss rose from {self.first:.3g} to {loss:.3g} within {state.batch} batches: the "
                f"learning rate is too high; start again with a tenth of it (`optimizer.NAME.lr=...`)"
            )

    def on_epoch_end(self, state: Fit) -> None:
        state.factor = DECAY ** decays(state.history)
        state.stop = overfits(state.history) or state.stop
