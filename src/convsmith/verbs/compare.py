"""The verb that compares runs on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convsmith.errors import UserError, shown
from convsmith.run.directory import RunDirectory
from convsmith.verbs.disk import new_file, own_page, save


def compare(runs: Sequence[str | os.PathLike[str]], *, out: str | Path | None = None) -> dict[str, Any]:
    """Write one page about several runs: differences in their recipes, results and curves.

    Args:
        runs: two or more directories; of trainings that are still going on or have failed, too.
        out: the page, a new HTML file; None writes ``comparison.html`` here, also over an earlier one.

    Returns:
        ``report``, ``differences`` (by dotted key of the recipe, a value for each run), ``runs``.

    Raises:
        UserError: if a run isn't one, or has no finished epoch.
    """
    from convsmith.reports import comparison

    target = own_page(Path("comparison.html")) if out is None else new_file(out)
    directories = [RunDirectory(run) for run in runs]
    for directory in directories:
        if not directory.recipe.exists():
            raise UserError(f"{shown(directory.path)} holds no run; name the folders of trainings")
        if not directory.read_metrics():
            raise UserError(f"{shown(directory.path)} has no finished epoch to compare; leave it out")
    found = [comparison.read(directory) for directory in directories]
    differences = comparison.differences([run.recipe for run in found])
    save(target, comparison.render(found, differences))
    return {
        "report": str(target if out is None else out),
        "differences": differences,
        "runs": [os.fspath(run) for run in runs],
    }
