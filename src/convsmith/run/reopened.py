"""Opening a run's own images again, in the splits that it recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from convsmith import recipe as recipes
from convsmith.data import layout, table
from convsmith.data.dataset import SPLITS, Dataset
from convsmith.data.item import Item
from convsmith.data.opened import locate, open_items
from convsmith.data.scan import Track, no_track
from convsmith.data.shuffle import generator
from convsmith.errors import UserError, nearest, shown
from convsmith.findings import Finding
from convsmith.inference.predictor import Predictor
from convsmith.run.directory import RunDirectory

# Random stream for drawing a floor from the validation images of a run that has none.
HALF = 107


def reopen(
    run: RunDirectory,
    predictor: Predictor,
    splits: Sequence[str] = SPLITS,
    *,
    track: Track[list[Path]] = no_track,
) -> Dataset:
    """Open the images of a run's splits from ``files.csv``; name and leave out files that appeared later.

    Args:
        run: a run.
        predictor: the run's net, whose normalizer and classes hold.
        splits: some of train, val, floor and test. A run without a floor takes half of its validation
            images for one, and says so.
        track: shows progress.

    Raises:
        UserError: if a split isn't there, or none of its images can be used.
    """
    items = run.read_files()
    findings = _appeared(run, items)
    here = {item.split for item in items}
    if set(splits) == {"floor"} and "floor" not in here:
        items, finding = _half(items, run)
        findings.append(finding)
        here.add("floor")
    for name in splits:
        if name not in SPLITS:
            raise UserError(f"there is no split {name!r}{nearest(name, SPLITS)}")
    wanted = [item for item in items if item.split in splits]
    if not wanted:
        names = " or ".join(splits)
        known = ", ".join(name for name in SPLITS if name in here)
        raise UserError(f"{shown(run.path)} has no {names} images; it has {known or 'none'}")
    _refuse_moved(run, wanted)
    dataset = open_items(
        wanted,
        predictor.signature,
        encoding=predictor.encoding,
        cost_classes=table.cost_names(run.files),
        track=track,
    )
    return replace(dataset, findings=[*dataset.findings, *findings, *_exchanged(run, dataset)])


def _refuse_moved(run: RunDirectory, items: Sequence[Item]) -> None:
    """Refuse images of which none is where it was, with what to do."""
    if any(item.path.exists() for item in items):
        return
    raise UserError(
        f"the images of {shown(run.path)} aren't where they were, e.g. {shown(items[0].path)}; put them "
        f"back, name their new place to evaluate, or go on with the run there: "
        f"train DATA into it again with `resume`"
    )


def _exchanged(run: RunDirectory, dataset: Dataset) -> list[Finding]:
    """Finding about files whose content is another one than when the run began."""
    before = {file: digest for file, _, digest in run.read_sides() if digest}
    changed = [
        item.path
        for item, digest in zip(dataset.items, dataset.digests)
        if item.split and before.get(item.path, digest) != digest
    ]
    if not changed:
        return []
    names = ", ".join(shown(path) for path in changed[:3]) + (", ..." if len(changed) > 3 else "")
    return [
        Finding(
            seen=f"{len(changed):,} {'file has' if len(changed) == 1 else 'files have'} other contents than "
            f"when {shown(run.path)} began: {names}",
            means="the figures are not of the images that the run had",
            change="restore them, or train again",
            why="a changed file may show another picture under the old label",
            source="files.csv",
            name="exchanged",
        )
    ]


def _appeared(run: RunDirectory, items: Sequence[Item]) -> list[Finding]:
    """Finding about files that appeared in the data since the run began."""
    try:
        section = recipes.load(run.recipe).data
        found = layout.find(locate(section.path))
    except (UserError, OSError):
        return []  # the folder is gone; missing files are named elsewhere
    known = {item.path.absolute() for item in items} | set(run.read_left_out())
    new = [
        item.path for item in found if item.path.absolute() not in known and item.label not in section.exclude
    ]
    if not new:
        return []
    names = ", ".join(shown(path) for path in new[:3]) + (", ..." if len(new) > 3 else "")
    return [
        Finding(
            seen=f"{len(new):,} {'file has' if len(new) == 1 else 'files have'} appeared in "
            f"{shown(str(section.path))} since the run began, and left out: {names}",
            means="the figures are of the images that the run recorded",
            change="train again, e.g. with this run as `start_from`, to learn from them",
            why="a new draw of the splits could put images that were trained on among those that test",
            source="files.csv",
            name="appeared",
        )
    ]


def _half(items: Sequence[Item], run: RunDirectory) -> tuple[list[Item], Finding]:
    """Draw half of the validation images as the floor of a run that has none."""
    val = [number for number, item in enumerate(items) if item.split == "val"]
    order = torch.randperm(len(val), generator=generator(0, HALF)).tolist()
    chosen = {val[place] for place in order[: (len(val) + 1) // 2]}
    found = [replace(item, split="floor") if number in chosen else item for number, item in enumerate(items)]
    return found, Finding(
        seen=f"{shown(run.path)} set no images aside for an accuracy floor; {len(chosen):,} of its "
        f"{len(val):,} validation images are taken",
        means="they have chosen the best epoch, so that their accuracy is a little too good",
        change="train with `data.floor=0.5` to set half of the validation images aside",
        why="images that choose an epoch favor it",
        source="Hastie et al. 2009, section 7.10",
        name="no_floor",
    )
