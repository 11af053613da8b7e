"""Progress of a training: a bar on a terminal, and a line for each epoch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from convsmith import catalog

# Seconds of training from which on its speed is known.
MEASURED = 3.0
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel."""
    # Who runs in a kernel has imported IPython already.
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


@contextlib.contextmanager
def shown_progress(wanted: bool | None) -> Iterator[list[TrainingProgress]]:
    """Make the callbacks that show progress; None shows it on a terminal and in a notebook."""
    if wanted is None:
        wanted = errors.is_terminal or in_notebook()
    shows = [TrainingProgress()] if wanted else []
    try:
        yield shows
    finally:
        for show in shows:
            show.close()


class TrainingProgress:
    """What is trained and why; a bar for the whole training, with loss, accuracy, images/s and the time left.

    A line tells the time that the training will take, once its first steps are measured, and another each
    epoch. Without a terminal there are only the lines: in a notebook on stdout, else on stderr.
    """

    def __init__(self) -> None:
        self.shown = 0.0
        self.told, self.batches = False, 0
        self.minutes: float | None = None
        self.progress: Progress | None = None

    def on_planned(self, ready: Any) -> None:
        self.minutes = ready.plan.train.minutes
        for line in begins(ready):
            self._say(line)

    def on_start(self, state: Any) -> None:
        self.length, self.started = len(state.train), time.monotonic()
        if errors.is_terminal and not in_notebook():
            self.progress = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=errors,
                transient=True,
            )
            self.task = self.progress.add_task(
                "",
                total=state.epochs * self.length,
                completed=state.epoch * self.length,
                epoch="",
                figures="",
            )
            self.progress.start()

    def on_batch_end(self, state: Any) -> None:
        self.batches += 1
        seconds = time.monotonic() - self.started
        if not self.told and seconds > MEASURED:
            self.told = True
            self._say(expected(state, seconds / self.batches, self.minutes))
        if self.progress is None or time.monotonic() - self.shown < 0.25:
            return
        self.shown = time.monotonic()
        sums = state.sums
        # sync: four times a second
        count = float(sums["train_count"])
        loss = sum(float(v) for n, v in sums.items() if n[6:] in state.task.objective.reads) / count
        seconds, seen = state.clock
        measure = figure(state.measure, float(sums[f"train_{state.measure.name}"]) / count)
        self.progress.update(
            self.task,
            total=state.epochs * self.length,
            completed=state.epoch * self.length + state.batch,
            epoch=f"{state.epoch + 1}/{state.epochs}",
            figures=f"loss {loss:.4f}  {state.measure.name} {measure}  "
            f"{seen * state.fabric.world_size / max(seconds, 1e-9):,.0f} images/s",
        )

    def on_epoch_end(self, state: Any) -> None:
        row = state.history[-1]
        better = " *" if row is state.best else ""
        self._say(
            f"epoch {int(row['epoch']):>3}/{state.epochs}  loss {row['train_loss']:.4f}  "
            f"val loss {row['val_loss']:.4f}  "
            f"val {state.measure.name} {figure(state.measure, row['val_' + state.measure.name])}  "
            f"{row['images_per_second']:,.0f} images/s{better}"
        )

    def _say(self, line: str) -> None:
        stream = sys.stdout if in_notebook() else sys.stderr
        stream.write(f"{line}\n")
        stream.flush()

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()


def begins(ready: Any) -> list[str]:
    """What a plan trains, from what, and why: lines for a terminal."""
    plan, reasons = ready.plan, ready.reasons
    name = catalog.split("model", plan.model)[0]
    if plan.train.start_from is None:
        start = "from random weights"
    else:
        start = reasons.get("train.start_from") or f"from {plan.train.start_from}"
    lines = [f"{name}, {start}"]
    if plan.train.finetune is not None:
        way = catalog.split("finetuning", plan.train.finetune)[0].replace("_", " ")
        why = reasons.get("train.finetune")
        much = f"{plan.train.epochs} epochs" if plan.train.epochs else "solved at once"
        lines.append(f"fine-tuning: {way}, {much}{f': {why}' if why else ''}")
    # What is said at the end comes too late for minutes that are too few.
    return lines + [f"note: {finding}" for finding in ready.findings if finding.name == "few_minutes"]


def expected(state: Any, seconds: float, minutes: float | None = None) -> str:
    """The time of the epochs to come at so many seconds a batch; one of validation costs a third.

    Args:
        state: of the training.
        seconds: of one batch.
        minutes: that the training may take; None for as many as it needs.
    """
    from convsmith.training.timing import words

    epochs = state.epochs - state.epoch
    epoch = (len(state.train) + len(state.val) / 3) * seconds
    if minutes is not None and epochs * epoch > 60 * minutes:
        time = f"{words(60 * minutes)}, in which about {max(1, int(60 * minutes / epoch))} epochs fit"
    else:
        time = f"about {words(epochs * epoch)} for {epochs} epochs"
    return f"{time}; Ctrl-C ends the training early, and the best epoch so far stays"


def figure(measure: Any, value: float) -> str:
    """A measure as people read it."""
    return f"{100 * value:.2f}%" if measure.name == "accuracy" else f"{value:.4g}"
