"""Progress of a training: a bar on a terminal, and a line for each epoch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
    """A bar for the whole training, with loss, accuracy, images/s and the time left; a line an epoch.

    Without a terminal there are only the lines: in a notebook on stdout, else on stderr.
    """

    def __init__(self) -> None:
        self.shown = 0.0
        self.progress: Progress | None = None

    def on_start(self, state: Any) -> None:
        self.length = len(state.train)
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
            completed=state.epoch * self.length + state.batch,
            epoch=f"{state.epoch + 1}/{state.epochs}",
            figures=f"loss {loss:.4f}  {state.measure.name} {measure}  "
            f"{seen * state.fabric.world_size / max(seconds, 1e-9):,.0f} images/s",
        )

    def on_epoch_end(self, state: Any) -> None:
        row = state.history[-1]
        better = " *" if row is state.best else ""
        line = (
            f"epoch {int(row['epoch']):>3}/{state.epochs}  loss {row['train_loss']:.4f}  "
            f"val loss {row['val_loss']:.4f}  "
            f"val {state.measure.name} {figure(state.measure, row['val_' + state.measure.name])}  "
            f"{row['images_per_second']:,.0f} images/s{better}\n"
        )
        stream = sys.stdout if in_notebook() else sys.stderr
        stream.write(line)
        stream.flush()

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()


def figure(measure: Any, value: float) -> str:
    """A measure as people read it."""
    return f"{100 * value:.2f}%" if measure.name == "accuracy" else f"{value:.4g}"
