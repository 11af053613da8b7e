"""What the command line prints: progress and findings to stderr, results to stdout."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from convsmith.cli.wording import as_flags, in_flags
from convsmith.errors import UserError

T = TypeVar("T")
errors = Console(stderr=True, highlight=False, soft_wrap=True)
console = Console(highlight=False)


def as_json(content: Any) -> None:
    """Write one JSON object as the last line of stdout."""
    sys.stdout.write(json.dumps(numbers(in_flags(content)), allow_nan=False) + "\n")
    sys.stdout.flush()


def numbers(content: Any) -> Any:
    """What JSON has no number for, NaN and infinity, becomes null.

    >>> numbers({"loss": float("nan"), "seen": [1, float("inf")]})
    {'loss': None, 'seen': [1, None]}
    """
    if isinstance(content, dict):
        return {key: numbers(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [numbers(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def say(text: str) -> None:
    """Write one line for people to stdout."""
    # Not through rich, which would read brackets in file names as markup.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def note(text: str) -> None:
    """Write one of the library's sentences to stderr, in the command line's words."""
    sys.stderr.write(as_flags(text).encode("utf-8", "backslashreplace").decode() + "\n")


def table(title: str, columns: list[str], rows: Iterable[list[str]]) -> None:
    view = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        view.add_column(column, justify="left" if number < 1 else "right", overflow="fold")
    for row in rows:
        # As texts: brackets in the names of classes are no markup, and :dog: is no picture.
        view.add_row(*(Text(cell) for cell in row))
    console.print(view)


def readable(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answers; what couldn't be read is noted in its place."""
    for row in rows:
        if "error" not in row:
            yield row
        elif len(rows) > 1:
            note(row["error"])


def refuse_unread(rows: list[dict[str, Any]]) -> None:
    """End with a mistake if some pictures couldn't be read; all others have their answers.

    Raises:
        UserError: with how many, or why it was the only one.
    """
    bad = sum("error" in row for row in rows)
    if bad == len(rows) == 1:
        raise UserError(rows[0]["error"])
    if bad:
        raise UserError(f"{bad:,} of {len(rows):,} pictures can't be read; all others are answered")


def trained(result: dict[str, Any]) -> None:
    """Print the result of a training."""
    on = f"{result['n']:,} {result['split']} images"
    if "val_accuracy" in result:
        figures = f"{100 * result['accuracy']:.2f}%{between(result, 100)} of {on} right"
    else:
        known = ", ".join(f"{key} {result[key]:.4g}" for key in ("mae", "rmse", "kl") if key in result)
        figures = f"{known}{between(result)} on {on}"
    figures += ", on which the epoch was chosen" if result["chosen_by"] else ""
    stopped = f", stopped: {as_flags(result['stopped'])}" if result["stopped"] else ""
    kept = (
        f"best epoch {result['best_epoch']} of {result['epochs']}"
        if result["epochs"]
        else "classifier solved, nothing trained"
    )
    say(
        f"{figures} ({kept}{stopped}; "
        f"{result['parameters']:,} parameters; {result['seconds']:.0f} s of training)"
    )
    say(f"report: {result['report']}")


def between(result: dict[str, Any], percent: int = 0) -> str:
    """The 95% interval of a result, in brackets."""
    low, high = result["interval"]
    return f" ({percent * low:.1f}-{percent * high:.1f})" if percent else f" ({low:.4g} to {high:.4g})"


def inspected(found: dict[str, Any]) -> None:
    """Print what `inspect` counted, a row a layer."""
    zero, near = found["zero_share"], found["saturated_share"]
    rows = [
        [
            name,
            f"{100 * zero[name]:.1f}%" if name in zero else "",
            str(found["dead"].get(name, "")),
            f"{100 * near[name]:.1f}%" if name in near else "",
            _mean_share(found["image_share"].get(name, [])),
            "{units} ({by_chance:.1f})".format(**own) if (own := found["class_units"].get(name)) else "",
        ]
        for name in found["layers"]
    ]
    table(
        "",
        ["layer", "silent", "dead channels", "saturated", "of the image", "of one class (by chance)"],
        rows,
    )
    slopes = [
        [name, *(f"{row[key]:.3f}" for key in ("mean", "min", "max"))]
        for name, row in found["slopes"].items()
    ]
    if slopes:
        table("", ["learned slopes", "mean", "smallest", "largest"], slopes)


def _mean_share(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * sum(known) / len(known):.1f}%" if known else ""


def evaluation(found: Any) -> None:
    """Print the figures of an evaluation, in total and by class or target."""
    if not hasattr(found, "per_class"):
        say(found.result)
        if found.numeric:
            rows = [
                [name, *(f"{row[key]:.4g}" for key in ("mae", "rmse", "median_absolute_error", "r2"))]
                for name, row in found.per_column().items()
            ]
            table("", ["target", "MAE", "RMSE", "median error", "R²"], rows)
        return
    say(
        f"{found.result}, "
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


def track(things: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Show the progress of a long loop, on a terminal only."""
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
