"""What the command line prints: progress and findings to stderr, results to stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

T = TypeVar("T")
errors = Console(stderr=True, highlight=False, soft_wrap=True)
console = Console(highlight=False)


def as_json(content: Any) -> None:
    """One JSON object as the last line of stdout."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """One line for people, on stdout."""
    # Not through rich: brackets in file names are no markup.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def note(text: str) -> None:
    """One line for people, on stderr."""
    sys.stderr.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def table(title: str, columns: list[str], rows: Iterable[list[str]]) -> None:
    view = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        view.add_column(column, justify="left" if number < 1 else "right", overflow="fold")
    for row in rows:
        view.add_row(*row)
    console.print(view)


def trained(result: dict[str, Any]) -> None:
    """What a training has come to."""
    figures = (
        f"{100 * result['accuracy']:.2f}% of the {result['split']} images right"
        if "val_accuracy" in result
        else ", ".join(f"{key} {result[key]:.4g}" for key in ("mae", "rmse", "kl") if key in result)
    )
    stopped = f", stopped: {result['stopped']}" if result["stopped"] else ""
    say(
        f"{figures} (best epoch {result['best_epoch']} of {result['epochs']}{stopped}; "
        f"{result['parameters']:,} parameters; {result['seconds']:.0f} s of training)"
    )
    say(f"report: {result['report']}")


def evaluation(found: Any) -> None:
    """The figures of an evaluation: in all, and by class or target."""
    if not hasattr(found, "per_class"):
        say(f"{found.headline} on {len(found.targets):,} {found.split} images")
        if found.numeric:
            rows = [
                [name, *(f"{row[key]:.4g}" for key in ("mae", "rmse", "median_absolute_error", "r2"))]
                for name, row in found.per_column().items()
            ]
            table("", ["target", "MAE", "RMSE", "median error", "R²"], rows)
        return
    say(
        f"{100 * found.accuracy:.2f}% of {len(found.targets):,} {found.split} images right, "
        f"loss {found.loss:.4f}, balanced accuracy {100 * found.balanced_accuracy:.2f}%, "
        f"macro F1 {found.macro_f1:.4f}, expected cost {found.expected_cost:.4f}"
    )
    rows = [
        [
            label,
            f"{100 * row['recall']:.1f}%",
            f"{100 * row['precision']:.1f}%",
            f"{row['f1']:.3f}",
            str(int(row["n"])),
        ]
        for label, row in found.per_class().items()
    ]
    table("", ["class", "recall", "precision", "F1", "images"], rows)


def figure(measure: Any, value: float) -> str:
    """A measure as people read it."""
    return f"{100 * value:.2f}%" if measure.name == "accuracy" else f"{value:.4g}"


def track(things: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Progress of a long loop, on a terminal only."""
    if not errors.is_terminal:
        yield from things
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as progress:
        yield from progress.track(things, total=total, description=doing)


class TrainingProgress:
    """A bar for the whole training, with loss, accuracy, images/s and the time left; a line an epoch.

    Not on a terminal, only the line an epoch.
    """

    def __init__(self) -> None:
        self.shown = 0.0
        self.progress: Progress | None = None

    def on_start(self, state: Any) -> None:
        self.length = len(state.train)
        if errors.is_terminal:
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
        self.progress.update(
            self.task,
            completed=state.epoch * self.length + state.batch,
            epoch=f"{state.epoch + 1}/{state.epochs}",
            figures=f"loss {loss:.4f}  {state.measure.name} {self._measure(state, count)}  "
            f"{seen * state.fabric.world_size / max(seconds, 1e-9):,.0f} images/s",
        )

    def _measure(self, state: Any, count: float) -> str:
        return figure(state.measure, float(state.sums[f"train_{state.measure.name}"]) / count)

    def on_epoch_end(self, state: Any) -> None:
        row = state.history[-1]
        better = " *" if row is state.best else ""
        note(
            f"epoch {int(row['epoch']):>3}/{state.epochs}  loss {row['train_loss']:.4f}  "
            f"val loss {row['val_loss']:.4f}  "
            f"val {state.measure.name} {figure(state.measure, row['val_' + state.measure.name])}  "
            f"{row['images_per_second']:,.0f} images/s{better}"
        )

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()
