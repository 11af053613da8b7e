"""Rules about the learning curves, applied while the net is trained (``train.auto``)."""

from __future__ import annotations

from convsmith.advice.live import Plateaus, exploded, losses, overfits
from convsmith.training.loop import Diverged, Fit

# Batches between two looks at the loss, each of which waits for the device, and the last batch that is looked
# at; of small data that is several epochs.
EVERY, EARLY = 10, 100
DECAY = 0.1


class Auto:
    """Give up when the loss explodes, lower the rate when it is flat, stop when the net over-fits.

    On an explosion it raises :class:`Diverged`, and the caller starts again with a smaller rate. Decisions
    at an epoch's end depend on the history alone, so that a resumed run makes the same ones. They are made
    from figures of all processes, so that each process makes the same.

    Args:
        chance: loss of guessing; 0 if it isn't known.
    """

    def __init__(self, chance: float = 0.0) -> None:
        self.chance = chance
        self.first: float | None = None

    def on_start(self, state: Fit) -> None:
        self.plateaus = Plateaus([state.schedule(epoch, state.epochs) for epoch in range(state.epochs)])
        if state.epoch or state.batch:  # resumed: the loss before any update was that of guessing, or less
            self.first = self.chance
        self.on_epoch_end(state)

    def on_batch_end(self, state: Fit) -> None:
        if state.loss is None or not state.task.objective.comparable("train"):
            return
        passed = state.epoch * len(state.train) + state.batch
        if self.first is None:
            self.first = _everyone(state)  # sync: once
        elif passed % EVERY == 0 and (passed <= EARLY or state.epoch == 0):
            self._refuse_exploded(_everyone(state), passed)  # sync: seldom

    def _refuse_exploded(self, loss: float, batches: int) -> None:
        if self.first is not None and exploded(self.first, loss, self.chance):
            raise Diverged(
                f"the loss rose from {self.first:.3g} to {loss:.3g} within {batches} batches: the learning "
                f"rate is too high; start again with a tenth of it (`optimizer.NAME.lr=...`)"
            )

    def on_epoch_end(self, state: Fit) -> None:
        # Row 0 is of a classifier that was solved: no part of the curve.
        trained = [row for row in state.history if row["epoch"] >= 1]
        passed = len(trained) * len(state.train)
        if trained and passed <= EARLY and state.task.objective.comparable("train"):
            # Few batches: their mean tells more than the last one.
            self._refuse_exploded(trained[-1]["train_loss"], passed)
        new = trained[len(self.plateaus.losses) :]
        for loss in losses(new, state.task.objective.comparable("train")):
            self.plateaus.add(loss)
        state.factor = DECAY**self.plateaus.count
        # No epoch was trained where a solved classifier is all that there is to be.
        falls = any(self.plateaus.falls[state.epoch - 1 : state.epoch])
        by_loss = not falls and state.task.objective.comparable("val")
        state.stop = overfits(trained, state.validated, by_loss=by_loss) or state.stop


def _everyone(state: Fit) -> float:
    """The last batch's loss, as a mean over the processes."""
    assert state.loss is not None
    loss = state.loss.clone()
    return float(state.fabric.all_reduce(loss, reduce_op="mean") if state.fabric.world_size > 1 else loss)
