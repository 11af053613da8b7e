"""The verb that measures a net on images with known labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convsmith import recipe as recipes
from convsmith.data import layout, table
from convsmith.data.dataset import SPLITS, Dataset
from convsmith.data.item import Item
from convsmith.data.opened import locate, open_items
from convsmith.data.scan import Track, no_track
from convsmith.errors import UserError, nearest, shown
from convsmith.findings import Finding
from convsmith.inference.evaluation import Evaluation, evaluate_split
from convsmith.inference.number_evaluation import NumberEvaluation
from convsmith.inference.predictor import Predictor
from convsmith.run.directory import RunDirectory
from convsmith.run.reopened import reopen
from convsmith.verbs.opened import Model, opened_model

# Name of the split of data without splits.
ALL = "all"


def evaluate(
    model: Model,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    costs: str | Path | None = None,
    device: str = "auto",
    track: Track[list[Path]] = no_track,
) -> Evaluation | NumberEvaluation:
    """Evaluate a net on DATA, or on a split of its run's own images, as the run recorded them.

    Args:
        model: run, model folder, weight file, or what :func:`convsmith.load` gives.
        data: folder, CSV or built-in name.
        split: train, val, test or floor; None takes the test split, else val, else train. Of DATA without
            splits all images are taken.
        costs: CSV of what mistakes cost (true class by row), in place of the model's own: decisions are then
            those of least expected cost.
        device: auto, cpu or cuda.
        track: shows the progress of reading the data.

    Raises:
        UserError: if images, classes or costs don't fit the model, or there is no such split.
    """
    if split is not None and split not in SPLITS:
        raise UserError(f"there is no split {split!r}{nearest(split, SPLITS)}")
    predictor = opened_model(model, costs, device)
    if data is not None:
        name, dataset = _given(predictor, data, split, _excluded(model), track)
        dataset = replace(dataset, findings=[*dataset.findings, *_known(model, dataset)])
    else:
        name, dataset = recorded(predictor, _run_of(model), split, track)
    chosen = chosen_on(_run_of(model), name) if data is None else None
    return replace(evaluate_split(predictor, dataset, name), findings=dataset.findings, chosen_by=chosen)


def _known(model: Model, dataset: Dataset) -> list[Finding]:
    """Finding about images that the run was trained on."""
    run = RunDirectory.of(model) if not isinstance(model, Predictor) else None
    if run is None or not run.files.exists():
        return []
    trained = {digest for _, side, digest in run.read_sides() if side == "train" and digest}
    own = [digest for item, digest in zip(dataset.items, dataset.digests) if item.split]
    count = sum(digest in trained for digest in own)
    if not count:
        return []
    return [
        Finding(
            seen=f"{count:,} of these {len(own):,} images were trained on",
            means="the figures are too good to be true",
            change="evaluate on images that the run hasn't seen, or leave DATA out for the run's own",
            why="an image that was trained on measures memory, not generalization",
            source="files.csv",
            name="trained_on",
        )
    ]


def _excluded(model: Model) -> list[str]:
    """Classes that the run was trained without, on purpose."""
    run = RunDirectory.of(model) if not isinstance(model, Predictor) else None
    return [] if run is None or not run.begun else list(recipes.load(run.recipe).data.exclude)


def chosen_on(run: RunDirectory, split: str) -> str | None:
    """The figure by which a run chose its epoch, if it did so on the images of this split."""
    if split != "val" or not any(row["epoch"] >= 1 for row in run.read_metrics()):
        return None
    wanted: str | None = recipes.load(run.recipe).train.choose_by
    return wanted or "accuracy"


def recorded(
    predictor: Predictor, run: RunDirectory, split: str | None, track: Track[list[Path]]
) -> tuple[str, Dataset]:
    """Open a split that the run recorded, by default test, else val; give its name too."""
    names = {item.split for item in run.read_files()}
    name = split or next((own for own in ("test", "val", "train") if own in names), "val")
    return name, reopen(run, predictor, [name], track=track)


def _run_of(model: Model) -> RunDirectory:
    run = RunDirectory.of(model) if not isinstance(model, Predictor) else None
    if run is None or not run.files.exists():
        raise UserError("this model is no run that recorded its images; name DATA to evaluate it on")
    return run


def _given(
    predictor: Predictor,
    data: str | Path,
    split: str | None,
    excluded: Sequence[str],
    track: Track[list[Path]],
) -> tuple[str, Dataset]:
    """Open the given data: one of its splits if it has any, else all images; not those ``excluded``."""
    source = locate(str(data))
    found = layout.survey(source, to_train=False)
    items = [item for item in found.items if item.label not in excluded]
    names = {item.split for item in items}
    if None in names:
        if split is not None:
            raise UserError(f"DATA has no splits, so no {split} images; leave out `split`")
        items, name = [replace(item, split=ALL) for item in items], ALL
    else:
        name = split or next(own for own in ("test", "val", "train") if own in names)
        if name not in names:
            known = ", ".join(own for own in SPLITS if own in names)
            raise UserError(f"DATA has no {name} images; it has {known}")
    own = [item for item in items if item.split == name]
    known_here = [item for item in own if predictor.columns or item.label in predictor.classes]
    dataset = open_items(
        known_here or own,  # of which none is known, the first is named
        predictor.signature,
        encoding=predictor.encoding,
        cost_classes=table.cost_names(source),
        track=track,
    )
    numbers = bool(predictor.columns) or not known_here
    strange = [] if numbers else [item for item in own if item.label not in predictor.classes]
    return name, replace(dataset, findings=[*dataset.findings, *_strange(strange, len(own))])


def _strange(items: Sequence[Item], images: int) -> list[Finding]:
    """Finding about images of classes that the model doesn't know."""
    if not items:
        return []
    counts = Counter(item.label for item in items)
    names = ", ".join(f"{shown(repr(label))} ({count:,})" for label, count in list(counts.items())[:3])
    return [
        Finding(
            seen=f"{len(items):,} of {images:,} images left out, of classes that the model doesn't know: "
            f"{names}{', ...' if len(counts) > 3 else ''}",
            means="every answer for them would be wrong",
            change="train with these classes, or leave them out of DATA",
            why="the net has no output for them",
            source="scan",
            name="unknown_classes",
        )
    ]
