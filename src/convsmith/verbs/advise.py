"""The verb that examines the data and writes a recipe with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convsmith import recipe as recipes
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track, no_track
from convsmith.findings import Finding
from convsmith.verbs.disk import new_file, save

# Number of images that the search for doubtful labels looks at.
LABELS = 2000


def advise(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    start_from: str | None = None,
    recipe: str | Path | None = None,
    set: Sequence[str] = (),
    minutes: float | None = None,
    write: str | Path | None = None,
    track: Track[list[Path]] = no_track,
) -> dict[str, Any]:
    """Look at the images, say what is amiss, and choose a whole recipe for them, each choice with its reason.

    These are the choices that :func:`convsmith.train` makes where the recipe leaves gaps; given values stay.

    Args:
        data, model, start_from, recipe, set, track: as in :func:`convsmith.train`.
        minutes: time for training on this machine; as many epochs as fit into it.
        write: a new YAML file for the recipe.

    Returns:
        ``findings``, ``ways`` (``name``, ``accuracy``, ``interval``, ``minutes``, ``how``, ``chosen`` of each
        way to train), ``recipe`` (YAML, reasons as comments), ``reasons`` by dotted key, ``estimate``
        (``seconds``, ``memory`` in bytes, ``updates``), ``written``.

    Raises:
        UserError: on a mistake in what was given.
    """
    from convsmith.data import duplicates
    from convsmith.training.assemble import assemble
    from convsmith.training.planning import planned
    from convsmith.training.survey import survey
    from convsmith.verbs.words import recipe_of

    target = None if write is None else new_file(write)
    words = recipe_of(data, model, start_from, recipe, set, {"minutes": minutes})
    ready = planned(words, track=track, timed=True)
    chosen, dataset = ready.plan, ready.dataset
    assert ready.timing is not None
    noticed = [*dataset.findings, *ready.findings]
    found = [*_shape(dataset), *noticed, *duplicates.findings(dataset.store, dataset.items)]
    # The whole net is measured, even if only a part of it will be trained.
    whole = chosen.changed({"train.finetune": None})
    net = None if ready.initial is None else ready.initial.model
    state = assemble(whole, dataset, ready.fabric, net, track)
    found += _labels(dataset, ready, state)
    estimate = {
        "seconds": ready.timing.seconds(chosen.train.epochs),
        "memory": ready.timing.step.memory,
        "updates": len(state.train) * chosen.train.epochs,
    }
    reasons = {**ready.reasons, "train": f"on this machine: {_cost(estimate)}"}
    text = recipes.dump(chosen, reasons)
    if target is not None:
        save(target, text)
    return {
        "findings": [finding.as_dict() for finding in found],
        "ways": [asdict(way) for way in survey(ready)],
        "recipe": text,
        "reasons": reasons,
        "estimate": estimate,
        "written": None if write is None else str(write),
    }


def _cost(estimate: dict[str, Any]) -> str:
    from convsmith.training.timing import words

    return (
        f"about {words(estimate['seconds'])} and {estimate['memory'] / 2**20:,.0f} MiB, "
        f"{estimate['updates']:,} updates"
    )


def _shape(dataset: Dataset) -> list[Finding]:
    """Describe the data: number of images, classes and sizes."""
    counts = dataset.class_counts()
    least, middle, most = dataset.sides
    sizes = (
        f"sides of {least} to {most} pixels, {middle} in the middle" if least != most else f"{least} pixels"
    )
    splits = ", ".join(f"{sum(of.values()):,} {split}" for split, of in dataset.counts().items())
    if counts is None:
        return [Finding(seen=f"{splits} images; {sizes}", name="images")]
    order = counts.argsort()
    small, large = (dataset.classes[int(order[place])] for place in (0, -1))
    return [
        Finding(
            seen=f"{splits} images of {len(dataset.classes)} classes; {sizes}; the smallest class "
            f"for training is {small!r} with {int(counts.min()):,}, the largest {large!r} with "
            f"{int(counts.max()):,}",
            name="images",
        )
    ]


def _labels(dataset: Dataset, ready: Any, state: Any) -> list[Finding]:
    """Doubtful labels, by the pixels and, where there is a source, by what two of its depths see."""
    import torch

    from convsmith.advice import labels
    from convsmith.training.features import probes

    if dataset.encoding is not None:
        return []
    train = dataset.train
    rows = torch.linspace(0, len(train) - 1, min(LABELS, len(train))).long()
    (pixels,) = train.store.stream([train.rows[rows]])
    images = pixels.float().permute(0, 3, 1, 2)
    side = min(16, images.shape[2])
    small = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    looks = [small.flatten(1)]
    if ready.initial is not None:
        looks += probes(state.task.model.eval(), state.train.sample(LABELS))
    own = [item for item in dataset.items if item.split == "train"]
    items = [own[row] for row in rows.tolist()]
    return labels.findings([look.numpy() for look in looks], train.targets[rows].numpy(), items)
