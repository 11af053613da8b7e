"""The verbs that use a run: evaluate, predict, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convsmith.data import dataset as datasets
from convsmith.data import layout
from convsmith.data.batches import Split
from convsmith.data.pixels import Resized, open_store
from convsmith.data.scan import Track, broken_findings, scan, silent
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.objectives.costs import checked, read_table
from convsmith.inference.device import pick_device
from convsmith.run.directory import RunDirectory
from convsmith.inference.evaluation import Evaluation
from convsmith.inference.evaluation import evaluate as evaluate_split
from convsmith.inference.number_evaluation import NumberEvaluation
from convsmith.inference.model_file import load
from convsmith.inference.predictor import Predictor
from convsmith.verbs.disk import disk_errors

if TYPE_CHECKING:
    from torch import Tensor


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    *,
    costs: str | Path | None = None,
    device: str = "auto",
    track: Track[list[Path]] = silent,
) -> Evaluation | NumberEvaluation:
    """Evaluate a run or model file on DATA, or on the run's own test split (else val).

    Of DATA with splits, its test split is taken (else val, else train); without splits, all of it.

    Args:
        model: run or model file.
        data: folder, CSV or built-in name.
        costs: CSV of what mistakes cost (true class by row), in place of the model's own: decisions are then
            those of least expected cost.
        device: auto, cpu or cuda.
        track: shows the progress of reading the data.

    Raises:
        UserError: if images, classes or costs don't fit the model.
    """
    predictor = _opened_model(model, costs, device)
    if data is not None:
        source = datasets.locate(str(data))
        items = layout.find(source)
    else:
        run = RunDirectory.of(model)
        items, source = run.read_files(), run.files
    names = {item.split for item in items}
    name = next((split for split in ("test", "val", "train") if split in names), None)
    if None not in names:
        items = [item for item in items if item.split == name]
    opened = opened_items(predictor, items, track, layout.cost_names(source))
    found = evaluate_split(predictor, opened.split, name or "all", opened.values)
    return replace(found, findings=opened.findings)


class Opened(NamedTuple):
    """Items decoded as the predictor wants them, their files and numbers, and what was left out of them."""

    split: Split
    files: list[Path]
    values: Tensor | None
    findings: list[Finding]


def _refuse_strange(predictor: Predictor, items: Sequence[layout.Item]) -> None:
    index = set(predictor.classes)
    for item in items:
        if predictor.encoding is not None:
            if len(item.target or ()) != len(predictor.columns):
                raise UserError(
                    f"{shown(item.path)} has {len(item.target or ())} numeric targets; the model predicts "
                    f"{len(predictor.columns)} ({', '.join(predictor.columns)}). Give a CSV with them"
                )
        elif item.label not in index:
            raise UserError(
                f"{shown(item.path)} is of class {item.label!r}, which the model doesn't know; it knows "
                f"{', '.join(predictor.classes[:10])}{', ...' if len(index) > 10 else ''}"
            )


def _opened_model(model: str | Path, costs: str | Path | None, device: str) -> Predictor:
    predictor = load(model).to(pick_device(device))
    if costs is not None:
        if predictor.encoding is not None:
            raise UserError("--costs is for classes; this model predicts numbers")
        predictor.costs = checked(read_table(costs, predictor.classes), predictor.classes)
    return predictor


def opened_items(
    predictor: Predictor,
    items: Sequence[layout.Item],
    track: Track[list[Path]],
    cost_classes: Sequence[str] = (),
) -> Opened:
    import torch

    _refuse_strange(predictor, items)
    rows, broken = scan(items, track)
    store, damaged = open_store(
        [(item.path, header) for item, header in rows],
        size=predictor.stored,
        channels=predictor.channels,
        track=track,
    )
    bad = {file.path for file in damaged}
    good = [number for number, (item, _) in enumerate(rows) if item.path not in bad]
    if not good:
        first = f": {shown(broken[0].path)}: {broken[0].reason}" if broken else ""
        raise UserError(f"no usable images to evaluate{first}")
    kept = [rows[number][0] for number in good]
    values = None
    if predictor.encoding is not None:
        values = torch.tensor([item.target for item in kept], dtype=torch.double)
        targets = predictor.encoding.encode(values)
    else:
        index = {name: number for number, name in enumerate(predictor.classes)}
        targets = torch.tensor([index[item.label] for item in kept])
    costs = None
    if cost_classes and predictor.encoding is None and set(predictor.classes) <= set(cost_classes):
        order = [cost_classes.index(name) for name in predictor.classes]
        costs = torch.tensor([item.costs for item in kept])[:, order]
    return Opened(
        Split(Resized(store, predictor.size), torch.tensor(good), targets, costs),
        [item.path for item in kept],
        values,
        broken_findings([*broken, *damaged]),
    )


def predict(
    model: str | Path,
    images: Sequence[str | Path],
    *,
    top: int = 5,
    costs: str | Path | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """For each image file its label, probability and ``top`` classes; ``costs`` as in :func:`evaluate`.

    Raises:
        UserError: if the model or an image can't be read.
    """
    return _opened_model(model, costs, device).predict(images, top=top)


def report(run: str | Path, *, device: str = "auto") -> Path:
    """Write a run's ``report.html`` again from its files; the path of the page."""
    from convsmith.reports import page

    directory = RunDirectory(run)
    predictor = load(run).to(pick_device(device))
    items = directory.read_files()
    name = "test" if any(item.split == "test" for item in items) else "val"
    own = [item for item in items if item.split == name]
    opened = opened_items(predictor, own, silent, layout.cost_names(directory.files))
    evaluation = evaluate_split(predictor, opened.split, name, opened.values)
    with disk_errors(directory.path):
        page.write(directory, evaluation, opened.files)
    return Path(directory.report)
