"""The verb that writes a run's report again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from convsmith.data.scan import no_track
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.inference.evaluation import evaluate_split
from convsmith.run.directory import RunDirectory
from convsmith.verbs.disk import disk_errors, own_page
from convsmith.verbs.evaluate import chosen_on, recorded
from convsmith.verbs.opened import Model, opened_model


def report(run: Model, *, device: str = "auto", noted: Callable[[Finding], None] = lambda _: None) -> Path:
    """Write a run's ``report.html`` again from its files, over the one that is there; the path of the page.

    Args:
        run: its place, or what :func:`convsmith.train` gives.
        device: auto, cpu or cuda.
        noted: is given what there is to say of the images, as files that have gone; the page says it too.

    Raises:
        UserError: if ``run`` is no run, its images have gone, or its ``report.html`` isn't convsmith's.
    """
    from convsmith.reports import page

    directory = RunDirectory(run)
    if not directory.path.is_dir() or not directory.recipe.exists():
        raise UserError(f"{shown(directory.path)} is no run; a report is of the folder that train wrote")
    own_page(directory.report)
    predictor = opened_model(directory.path, None, device)
    name, dataset = recorded(predictor, directory, None, no_track)
    chosen = chosen_on(directory, name)
    evaluation = replace(
        evaluate_split(predictor, dataset, name), findings=dataset.findings, chosen_by=chosen
    )
    for finding in dataset.findings:
        noted(finding)
    files = [item.path for item in dataset.items if item.split == name]
    with disk_errors(directory.path):
        page.write(directory, evaluation, files)
    return Path(directory.report)
