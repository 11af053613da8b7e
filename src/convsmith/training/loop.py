"""The one training loop: feed-forward, objective, back-propagation, update."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from convsmith.data.batches import Batch
from convsmith.data.targets import Measure, measure_of
from convsmith.errors import UserError
from convsmith.objectives.regularizers import Regularizer
from convsmith.run.best import rank
from convsmith.training.finite import Losses
from convsmith.training.judging import Judge
from convsmith.training.optimizers import rising
from convsmith.training.seeds import reseed, seed_of
from convsmith.training.tally import means, tally
from convsmith.training.task import Task

Row = dict[str, float]


class Feed(Protocol):
    """Source of batches for the loop, of images or cached features, as a pure function of (epoch, place)."""

    def __len__(self) -> int: ...
    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]: ...
    def sample(self, count: int) -> Feed: ...


@dataclass
class Fit:
    """State of a training and its parts.

    ``epoch`` and ``batch`` are the next ones to run; ``history`` has a row for each finished epoch; ``sums``
    are the current epoch's totals and ``loss`` is the last batch's loss without penalties, on the device. A
    callback ends the training after the epoch by setting ``stop`` to a reason. ``freeze`` is called at each
    epoch's start with the share of the training that has passed. ``validate_every`` is a number of batches
    after which validation images are evaluated within an epoch too, by which ``best`` is kept; ``seconds`` is
    the clock of the whole training, ``spent`` this process's share of it by work.
    """

    fabric: Fabric
    task: Task
    wrapped: Any
    optimizer: Any
    schedule: Callable[[float, float], float]
    train: Feed
    val: Feed
    epochs: int
    seed: int = 0
    accumulate: int = 1
    clip: float | None = None
    average: AveragedModel | None = None
    regularizers: dict[str, Regularizer] = field(default_factory=dict)
    freeze: Callable[[float], None] | None = None
    validate_every: int | None = None
    measure: Measure = field(default_factory=lambda: measure_of(None))
    # By what the best epoch is chosen, ``val_NAME``: the judge's own figure, the measure, or the loss.
    judge: Judge | None = None
    chosen_by: str = "accuracy"
    # Epochs that were planned before a clock changed ``epochs``.
    planned: int = 0
    epoch: int = 0
    batch: int = 0
    history: list[Row] = field(default_factory=list)
    best: Row | None = None
    sums: dict[str, Tensor] = field(default_factory=dict)
    loss: Tensor | None = None
    # Factor of all learning rates, in addition to the schedule's.
    factor: float = 1.0
    stop: str | None = None
    # Seconds of training and number of images in this epoch, since the process started.
    clock: tuple[float, int] = (0.0, 0)
    # Seconds since the training began, without those between two processes; up to date after fit().
    seconds: float = 0.0
    # Seconds of training steps and of validation, since the process started.
    spent: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "val": 0.0})
    started: float = field(default_factory=time.perf_counter)
    # What the rows so far have of these seconds.
    counted: float = 0.0
    # Number of validation images, of all processes; 0 before the first look.
    validated: int = 0

    def __post_init__(self) -> None:
        self.planned = self.epochs
        # The schedule multiplies each group's initial rate; a resumed optimizer has it already.
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"] * group.get("scale", 1.0))

    @property
    def closure(self) -> bool:
        """Whether the optimizer evaluates a batch several times, as L-BFGS does."""
        return isinstance(getattr(self.optimizer, "optimizer", self.optimizer), torch.optim.LBFGS)

    @property
    def model(self) -> nn.Module:
        """The net that is evaluated and kept: the running average of the weights if there is one."""
        return self.task.model if self.average is None else self.average.module

    def elapsed(self) -> float:
        """Seconds on the clock since the training began, those of earlier processes included."""
        return self.seconds + time.perf_counter() - self.started


class Diverged(UserError):
    """The loss became infinite or NaN, or exploded: start again with a smaller rate."""


def fit(state: Fit, callbacks: Sequence[object] = ()) -> Fit:
    """Train until ``epochs`` are done or a callback stops the training, from where ``state`` stands.

    Callbacks are objects with any of ``on_start, on_batch_end, on_epoch_end, on_improvement, on_finish``,
    each called with the state; ``on_finish`` also when the training fails.

    Raises:
        Diverged: when the loss is no longer finite.
    """
    call = _caller(state, callbacks)
    state.started = time.perf_counter()
    call("on_start")
    try:
        while state.epoch < state.epochs and state.stop is None:
            train_epoch(state, call)
            row = _row(state)
            state.history.append(row)
            state.epoch, state.batch, state.sums, state.clock = state.epoch + 1, 0, {}, (0.0, 0)
            _keep_better(state, row, call)
            call("on_epoch_end")
    finally:
        call("on_finish")
        state.seconds, state.started = state.elapsed(), time.perf_counter()
    return state


def train_epoch(state: Fit, call: Callable[[str], None]) -> None:
    """Train the rest of the current epoch, from batch ``state.batch`` on."""
    _train_mode(state)
    length = len(state.train)
    begun, done, beside = time.perf_counter(), state.spent["train"], 0.0
    seen = 0
    losses = Losses(state.fabric)
    for batch in state.train.epoch(state.epoch, first=state.batch):
        first = state.batch - state.batch % state.accumulate
        together = min(state.accumulate, length - first)
        update = state.batch + 1 == first + together
        set_rates(state, state.epoch + first / length)
        if state.closure:
            terms, logits, loss = _update_by_closure(state, batch)
        else:
            with state.fabric.no_backward_sync(state.wrapped, enabled=not update):
                terms, logits, loss = _gradients(state, batch, together)
            if update:
                if state.clip is not None:
                    state.fabric.clip_gradients(state.wrapped, state.optimizer, max_norm=state.clip)
                state.optimizer.step()
        if update:
            state.optimizer.zero_grad()
            if state.average is not None:
                state.average.update_parameters(state.task.model)
        figures = {name: regularizer.figure() for name, regularizer in state.regularizers.items()}
        tally(state, state.sums, "train", {**terms, **figures}, logits, batch)
        # The loss before this one is known by now: asking for this one would make the GPU wait.
        _refuse_nonfinite(state, losses.note(loss))
        images = [value for name, value in terms.items() if state.task.objective.per_image(name)]
        state.loss = torch.stack(images).sum().detach()
        state.batch += 1
        seen += batch.count
        state.clock = (time.perf_counter() - begun - beside, seen)
        state.spent["train"] = done + state.clock[0]
        if update:
            paused = time.perf_counter()
            if _due(state, first, length):
                _look(state, call)
            # Last: a checkpoint that is written now has the look behind it.
            call("on_batch_end")
            beside += time.perf_counter() - paused
    _refuse_nonfinite(state, losses.last())


def set_rates(state: Fit, epoch: float) -> None:
    """Set rate and momentum of every parameter group; they depend on epoch and batch alone."""
    factor = state.schedule(epoch, state.epochs) * state.factor
    if "progress" in state.task.objective.needs:
        state.task.progress.fill_(min(1.0, epoch / state.epochs))
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
        if "momentum_path" in group:
            group["momentum"] = rising(epoch / state.epochs, *group["momentum_path"])


def _gradients(state: Fit, batch: Batch, together: int = 1) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Run forward pass, objective and backward pass; give the terms, the logits and the loss."""
    # The seed depends on epoch and batch alone, so that a resumed run draws the same numbers.
    reseed(seed_of(state.seed, state.epoch, state.batch, state.fabric.global_rank), state.fabric.device)
    terms, logits = state.wrapped(batch.images, batch.targets, batch.costs)
    loss = total(state, terms, batch.share)
    state.fabric.backward(loss / together)
    return terms, logits.detach(), loss.detach()


def _update_by_closure(state: Fit, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Make an update that evaluates the same batch several times; give the figures from before the update."""
    found: list[tuple[dict[str, Tensor], Tensor, Tensor]] = []

    def evaluate() -> Tensor:
        state.optimizer.zero_grad()
        terms, logits, loss = _gradients(state, batch)
        if not found:
            found.append(({name: value.detach() for name, value in terms.items()}, logits, loss))
        return loss

    state.optimizer.step(evaluate)
    return found[0]


def total(state: Fit, terms: dict[str, Tensor], share: float) -> Tensor:
    """Sum the terms to the loss; means over images are weighted by this process's share of the batch."""
    objective = state.task.objective
    parts = [value * share if objective.per_image(name) else value for name, value in terms.items()]
    return torch.stack(parts).sum()


def _due(state: Fit, first: int, length: int) -> bool:
    """Whether validation is due after the update whose first batch was ``first``; not at an epoch's end."""
    every = state.validate_every
    return every is not None and state.batch < length and state.batch // every > first // every


def _look(state: Fit, call: Callable[[str], None]) -> None:
    """Evaluate the validation images within an epoch, and keep the net if it is better."""
    row = {"epoch": state.epoch + 1, "batch": state.batch, **means(state, validate(state), "val")}
    # Frozen stages stay in evaluation, which validate() has not kept apart.
    _train_mode(state)
    _keep_better(state, row, call)


def _train_mode(state: Fit) -> None:
    state.wrapped.train()
    if state.freeze is not None:
        state.freeze(state.epoch / state.epochs)


def _keep_better(state: Fit, row: Row, call: Callable[[str], None]) -> None:
    if state.best is None or _rank(state, row) > _rank(state, state.best):
        state.best = row
        call("on_improvement")


def _refuse_nonfinite(state: Fit, loss: float | None) -> None:
    if loss is not None and not math.isfinite(loss):  # every further step would be worthless
        raise Diverged(
            f"the loss became {loss} in epoch {state.epoch + 1}, batch {state.batch}: the learning "
            f"rate is probably too high. Start again with a tenth of it (`optimizer.NAME.lr=...`), with "
            f"`train.clip=1`, or in full precision"
        )


def evaluated(state: Fit, feed: Feed, split: str) -> Row:
    """Evaluate the images of ``feed``: means over all processes, their names beginning with ``split``."""
    return means(state, _sums(state, feed, split), split)


def validate(state: Fit) -> dict[str, Tensor]:
    """Evaluate the validation images; this process's sums."""
    started = time.perf_counter()
    sums = _sums(state, state.val, "val")
    state.spent["val"] += time.perf_counter() - started
    return sums


def _sums(state: Fit, feed: Feed, split: str) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    # Without Fabric's wrapper: evaluation needs no gradients, and may use the averaged weights.
    task = Task(state.model, state.task.objective)
    precision = state.fabric.strategy.precision
    was_training = state.model.training
    task.eval()  # the objective too: its centers and margins change in training mode only
    with torch.inference_mode(), state.fabric.autocast():
        for batch in feed.epoch(0):
            if batch.count:
                terms, logits = task(precision.convert_input(batch.images), batch.targets, batch.costs)
                tally(state, sums, split, terms, logits, batch)
    task.train(was_training)
    return sums


def _row(state: Fit) -> Row:
    """Make the epoch's row of metrics.csv: means over images; losses are without penalties.

    Its ``seconds`` are those on the clock since the row before: training, validation, and all beside them.
    """
    seconds, seen = state.clock
    found = {**means(state, state.sums, "train"), **means(state, validate(state), "val")}
    before, state.counted = state.counted, state.elapsed()
    return {
        "epoch": state.epoch + 1,
        "lr": max(group["lr"] for group in state.optimizer.param_groups),
        **found,
        "images_per_second": seen * state.fabric.world_size / seconds if seconds else 0.0,
        "seconds": state.counted - before,
    }


def _rank(state: Fit, row: Row) -> tuple[bool, float, float]:
    return rank(row, state.chosen_by, comparable=state.task.objective.comparable("val"))


def _caller(state: Fit, callbacks: Sequence[object]) -> Callable[[str], None]:
    def call(event: str) -> None:
        for callback in callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(state)

    return call
