"""The verb that measures a net on images with known labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convsmith import recipe as recipes
from convsmith.data import layout
from convsmith.data.dataset import SPLITS, Dataset
from convsmith.data.opened import locate, open_items
from convsmith.data.scan import Track, no_track
from convsmith.errors import UserError, nearest
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
        name, dataset = _given(predictor, data, split, track)
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
    predictor: Predictor, data: str | Path, split: str | None, track: Track[list[Path]]
) -> tuple[str, Dataset]:
    """Open the given data: one of its splits if it has any, else all images."""
    source = locate(str(data))
    items = layout.find(source)
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
    dataset = open_items(
        [item for item in items if item.split == name],
        predictor.signature,
        encoding=predictor.encoding,
        cost_classes=layout.cost_names(source),
        track=track,
    )
    return name, dataset
