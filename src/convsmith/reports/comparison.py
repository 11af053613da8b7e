"""Several runs on one page: differences in their recipes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from convsmith import recipe as recipes
from convsmith.errors import shown
from convsmith.reports import plots
from convsmith.reports.fill import fill
from convsmith.reports.page import MEASURES, chosen_by, diagnosis, words
from convsmith.run.best import best
from convsmith.run.directory import RunDirectory

Row = dict[str, float]
ABSENT = "-"


@dataclass(frozen=True)
class Compared:
    """A run's name, recipe by dotted keys, metrics, and what its curves say."""

    name: str
    recipe: dict[str, str]
    rows: list[Row]
    findings: list[str]

    @property
    def measure(self) -> str:
        return next(name for name in MEASURES if f"val_{name}" in self.rows[0])

    @property
    def best(self) -> Row:
        return best(self.rows, chosen_by(self.recipe.get("train.choose_by"), self.rows))

    @property
    def seconds(self) -> float:
        return sum(row["seconds"] for row in self.rows)


def read(run: RunDirectory) -> Compared:
    """Read what the page shows of a run.

    Raises:
        UserError: if its files are damaged.
    """
    given = recipes.load(run.recipe).model_dump(exclude_none=True)
    found = [words(finding) for finding in diagnosis(run)]
    return Compared(shown(run.path.absolute()), flattened(given), run.read_metrics(), found)


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Values by dotted key; an empty section is its name alone.

    >>> flattened({"model": {"lenet5": {}}, "train": {"epochs": 3}})
    {'model.lenet5': '', 'train.epochs': '3'}
    """
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found.update(flattened(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = "" if isinstance(value, Mapping) else str(value)
    return found


def differences(all_keys: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Keys in which the runs differ, with each run's value; ``-`` where a run lacks the key.

    >>> differences([{"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": ""}])
    {'b': ['2', '3'], 'c': ['-', '']}
    """
    keys = list(dict.fromkeys(key for keys in all_keys for key in keys))
    rows = {key: [keys.get(key, ABSENT) for keys in all_keys] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def render(runs: Sequence[Compared], rows: Mapping[str, Sequence[str]]) -> str:
    """Render the page as one HTML file."""
    runs = _shortened(runs)
    measures = {run.measure for run in runs}
    columns = [("val_loss", "validation loss"), ("train_loss", "training loss"), ("lr", "learning rate")]
    columns[:0] = [(f"val_{name}", f"validation {MEASURES[name]}") for name in MEASURES if name in measures]
    curves = [
        Markup(
            plots.side_by_side({run.name: run.rows for run in runs if column in run.rows[0]}, column, title)
        )
        for column, title in columns
    ]
    return fill(
        "comparison.html",
        runs=runs,
        differences=rows,
        curves=curves,
        colors=plots.LINES,
    )


def _shortened(runs: Sequence[Compared]) -> list[Compared]:
    """Name runs by their last folder, if all these names differ."""
    short = [Path(run.name).name for run in runs]
    if len(set(short)) < len(short):
        return list(runs)
    return [replace(run, name=name) for run, name in zip(runs, short)]
