"""Callbacks that save, stop and log; they don't depend on each other."""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import Interrupted, UserError, shown
from convsmith.run import checkpoint
from convsmith.run.best import column
from convsmith.run.directory import RunDirectory
from convsmith.training.loop import Fit


class EarlyStopping:
    """Stop when the best epoch is ``patience`` epochs ago (Prechelt 1998)."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_start(self, state: Fit) -> None:
        # A run killed between the last epoch and its end must not train on when it is resumed.
        self.on_epoch_end(state)

    def on_epoch_end(self, state: Fit) -> None:
        if state.best is not None and state.epoch - state.best["epoch"] >= self.patience:
            state.stop = f"no better epoch in the last {self.patience}"


class TimeLimit:
    """Fit the number of epochs to the clock, so that the schedule comes to its end with the time.

    After each epoch as many are planned as fit if each takes as long as the longest of the last three, and
    the training stops where no other one does. A plan from measured steps alone is too long: it knows nothing
    of what is beside them.

    Args:
        minutes: of the whole training, from its first step on; those before it was interrupted count.
        most: epochs at most.
    """

    def __init__(self, minutes: float, most: int) -> None:
        self.minutes = minutes
        self.most = most

    def on_start(self, state: Fit) -> None:
        self.before = sum(row["seconds"] for row in state.history)
        self.started = self.last = time.monotonic()
        self.paces: list[float] = []

    def on_epoch_end(self, state: Fit) -> None:
        now = time.monotonic()
        self.paces, self.last = [*self.paces[-2:], now - self.last], now
        left = 60 * self.minutes - (self.before + now - self.started)
        # The slowest process decides: all must stop together.
        less, longest = _slowest(state, -left, max(self.paces))
        if -less < longest and state.epoch < state.epochs:
            state.stop = f"another epoch would take longer than the {self.minutes:g} minutes"
        else:
            state.epochs = max(state.epoch, min(self.most, state.epoch + int(-less / longest)))


def _slowest(state: Fit, *seconds: float) -> list[float]:
    if state.fabric.world_size == 1:
        return list(seconds)
    own = torch.tensor(seconds, dtype=torch.float64, device=state.fabric.device)
    found: list[float] = state.fabric.all_reduce(own, reduce_op="max").tolist()
    return found


class Metrics:
    """Write a row of metrics.csv at each epoch's end."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run

    def on_start(self, state: Fit) -> None:
        # Rows of epochs that a killed process has finished, and that are repeated now, go.
        self.run.write_metrics(state.history)
        self.columns = self.run.metric_columns(state.history)

    def on_epoch_end(self, state: Fit) -> None:
        row = state.history[-1]
        if set(row) - set(self.columns):
            # The first epoch has figures that a classifier solved before it lacks.
            self.run.write_metrics(state.history)
            self.columns = self.run.metric_columns(state.history)
            return
        self.run.append_table(
            self.run.metrics, self.columns, [[row.get(column, "") for column in self.columns]]
        )


class Saves:
    """Keep the run resumable and the best net in its place: at epochs' ends, every so many minutes within an
    epoch, at the end and when interrupted.

    A save takes time, and epochs of a classifier alone take milliseconds: so at most a fiftieth of the time
    goes into saves. Until the next one the best net waits in memory. It is written before the checkpoint, so
    that a checkpoint never speaks of a best net that isn't there; a run that is killed between the two makes
    the same net again.

    Args:
        run: the directory.
        save: called with the net that is to be kept.
        minutes: between two saves at most; 0 saves after every update.
    """

    SHARE = 0.02

    def __init__(self, run: RunDirectory, save: Callable[[nn.Module], None], minutes: float) -> None:
        self.run = run
        self.save = save
        self.seconds = minutes * 60
        self.saved = time.monotonic()
        # Seconds of the last save, and of the net within it.
        self.cost = self.cost_best = 0.0
        self.waiting: dict[str, Tensor] | None = None

    def on_start(self, state: Fit) -> None:
        self.interrupt = _Interrupt() if state.fabric.world_size == 1 else None

    def on_improvement(self, state: Fit) -> None:
        # At an epoch's end a checkpoint follows at once if it is time for one.
        if state.batch == 0 and self._due():
            started = time.monotonic()
            self.save(state.model)
            self.waiting, self.cost_best = None, time.monotonic() - started
        else:
            self.waiting = _copied(state.model)

    def on_batch_end(self, state: Fit) -> None:
        if self.interrupt is not None and self.interrupt.asked:
            self._save(state)
            self.interrupt.release()
            raise Interrupted(
                f"interrupted in epoch {state.epoch + 1} after batch {state.batch}; all is saved. "
                f"Go on with: `cs.train(out={shown(self.run.path)!r}, resume=True)`",
                self.run.path,
            )
        if time.monotonic() - self.saved >= self.seconds:
            self._save(state)

    def on_epoch_end(self, state: Fit) -> None:
        if self._due() or state.epoch >= state.epochs or state.stop is not None:
            self._save(state)

    def on_finish(self, state: Fit) -> None:
        if self.interrupt is not None:
            self.interrupt.release()
        self._save_best(state)

    def _due(self) -> bool:
        return time.monotonic() - self.saved >= min(self.seconds, self.cost / self.SHARE)

    def _save(self, state: Fit) -> None:
        if not all(bool(total.isfinite()) for total in state.sums.values()):
            return  # the loop is about to refuse this state
        started = time.monotonic()
        self._save_best(state)
        checkpoint.save(self.run.checkpoint, snapshot(state))
        self.saved = time.monotonic()
        self.cost = self.saved - started + self.cost_best

    def _save_best(self, state: Fit) -> None:
        if self.waiting is None:
            return
        now = _copied(state.model)
        try:
            state.model.load_state_dict(self.waiting)
            self.save(state.model)
        finally:
            state.model.load_state_dict(now)
        self.waiting = None


def _copied(model: nn.Module) -> dict[str, Any]:
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in model.state_dict().items()
    }


class TensorBoard:
    """Write each epoch's metrics as TensorBoard events."""

    def __init__(self, run: RunDirectory) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                "train.tensorboard needs TensorBoard: pip install 'convsmith[tensorboard]'"
            ) from None
        self.writer = SummaryWriter(str(run.path / "tensorboard"))

    def on_epoch_end(self, state: Fit) -> None:
        for name, value in state.history[-1].items():
            if name != "epoch":
                self.writer.add_scalar(name, value, state.epoch)
        self.writer.flush()


class _Interrupt:
    """Note the first Ctrl-C or SIGTERM without ending the process; the second one ends it as usual."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.release()

    def release(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


def snapshot(state: Fit) -> dict[str, Any]:
    """Collect what a resumed run needs, as tensors and plain data."""
    return {
        "model": state.task.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
        "precision": state.fabric.strategy.precision.state_dict(),
        "epoch": state.epoch,
        "epochs": state.epochs,
        "planned": state.planned,
        "batch": state.batch,
        "history": state.history,
        "best": state.best,
        "sums": state.sums,
        "seconds": state.elapsed(),
        "validated": state.validated,
    }


def restore(state: Fit, saved: dict[str, Any]) -> None:
    """Continue from a snapshot."""
    state.task.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    if state.average is not None:
        state.average.load_state_dict(saved["average"])
    if saved["precision"]:
        state.fabric.strategy.precision.load_state_dict(saved["precision"])
    device = state.fabric.device
    state.epoch, state.batch = saved["epoch"], saved["batch"]
    # A clock's number of epochs stays, unless another one is asked for now.
    if saved.get("planned") == state.planned:
        state.epochs = saved["epochs"]
    state.history, state.best = saved["history"], saved["best"]
    if state.best is not None and state.judge is not None and column(state.judge.name) not in state.best:
        state.judge, state.chosen_by = (
            None,
            state.measure.name,
        )  # a checkpoint of an earlier version, which chose by the measure
    # Checkpoints of earlier versions have no clock and no number of images.
    state.validated = saved.get("validated", 0)
    state.counted = sum(row["seconds"] for row in state.history)
    state.seconds = saved.get("seconds", state.counted)
    state.sums = {name: value.to(device) for name, value in saved["sums"].items()}
