"""The verb that shows what augmentation makes of the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from convsmith import recipe as recipes
from convsmith.data.batches import Batches, Split
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.data.scan import Track, no_track
from convsmith.data.shuffle import generator
from convsmith.verbs.disk import new_file, save


def augment(
    data: str | Path | None = None,
    *,
    out: str | Path,
    recipe: str | Path | None = None,
    set: Sequence[str] = (),
    images: int = 8,
    draws: int = 8,
    track: Track[list[Path]] = no_track,
) -> dict[str, Any]:
    """Write a page with training images and what the net will see of them in its first epochs.

    Args:
        data: folder, CSV or built-in name; None takes the recipe's ``data.path``.
        out: the page, a new HTML file.
        recipe: YAML file.
        set: overrides ``"a.b=c"``, applied last.
        images: number of images, drawn by ``train.seed``.
        draws: number of pictures of each image.
        track: shows the progress of reading the data.

    Returns:
        ``out``, ``images``, ``draws``, ``augment`` (the recipe's section).

    Raises:
        UserError: on a mistake in what was given.
    """
    from convsmith.advice.choices import planned
    from convsmith.reports import augmentation
    from convsmith.training.feed import augment_of

    target = new_file(out)
    words = recipes.load(recipe, set)
    if data is not None:
        words = words.changed({"data.path": str(data)})
    dataset = open_data(words.data, seed=words.train.seed, track=track)
    plan, reasons = planned(words, dataset)
    part = _some(dataset, images, plan.train.seed)
    batches = Batches(
        part,
        dataset.normalizer,
        batch_size=len(part),
        device=torch.device("cpu"),
        augment=augment_of(plan, dataset),
        seed=plan.train.seed,
    )
    pictures = [next(batches.epoch(epoch)) for epoch in range(draws)]
    page = augmentation.render(dataset, plan, reasons.get("data.augment", ""), part, pictures)
    save(target, page)
    return {"out": str(out), "images": len(part), "draws": draws, "augment": plan.data.augment}


def _some(dataset: Dataset, count: int, seed: int) -> Split:
    train = dataset.split("train", stored=True)
    assert train is not None
    chosen = torch.randperm(len(train), generator=generator(seed))[:count]
    return Split(train.store, train.rows[chosen], train.targets[chosen])
