"""The verb that examines the data and writes a recipe with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track, no_track
from convsmith.findings import Finding
from convsmith.verbs.disk import save

if TYPE_CHECKING:
    from convsmith.advice.choice import Choice
    from convsmith.advice.machine import Estimate

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
        minutes: longest time for training on this machine; lowers the epochs if needed.
        write: a YAML file for the recipe.

    Returns:
        ``findings``, ``recipe`` (YAML, reasons as comments), ``reasons`` by dotted key, ``estimate``
        (``seconds``, ``memory`` in bytes, ``updates``), ``written``.

    Raises:
        UserError: on a mistake in what was given.
    """
    from convsmith.advice import duplicates
    from convsmith.training.assemble import assemble
    from convsmith.training.planning import planned
    from convsmith.verbs.words import recipe_of

    ready = planned(recipe_of(data, model, start_from, recipe, set), track=track)
    chosen, reasons, dataset = ready.plan, ready.reasons, ready.dataset
    noticed = [*dataset.findings, *ready.findings]
    found = [*_shape(dataset), *noticed, *duplicates.findings(dataset.store, dataset.items)]
    # The whole net is measured, even if only a part of it will be trained.
    whole = chosen.changed({"train.finetune": None})
    net = None if ready.initial is None else ready.initial.model
    state = assemble(whole, dataset, ready.fabric, net, track)
    found += _labels(dataset, ready, state)
    measured, epochs = _measured(state, chosen, minutes)
    reasons = {**reasons, "train": f"on this machine: {measured}"}
    if epochs is not None:
        chosen = chosen.changed({epochs.key: epochs.value})
        reasons[epochs.key] = epochs.why
    text = recipes.dump(chosen, reasons)
    if write is not None:
        save(Path(write).expanduser(), text)
    return {
        "findings": [finding.as_dict() for finding in found],
        "recipe": text,
        "reasons": reasons,
        "estimate": {"seconds": measured.seconds, "memory": measured.memory, "updates": measured.updates},
        "written": None if write is None else str(write),
    }


def _measured(state: Any, chosen: recipes.Plan, minutes: float | None) -> tuple[Estimate, Choice | None]:
    """Measure time and memory of the training ``chosen``; lower its epochs to fit into ``minutes``."""
    from convsmith.advice.choice import Choice
    from convsmith.advice.machine import estimate

    net, each = state.task.model, len(state.train)
    images = next(iter(state.train.epoch(0))).images
    views = _views(chosen)
    if views:  # the net runs forward only, once for each view
        return estimate(net, images, updates=each * views, frozen=True), None
    measured = estimate(net, images, updates=each * chosen.train.epochs)
    if minutes is None or measured.seconds <= 60 * minutes:
        return measured, None
    epochs = max(1, int(60 * minutes / (measured.step_seconds * each)))
    fewer = replace(measured, updates=each * epochs, seconds=measured.step_seconds * each * epochs)
    return fewer, Choice("train.epochs", epochs, f"as many as fit into {minutes:g} minutes here")


def _views(chosen: recipes.Plan) -> int:
    """Number of views of each image if only the classifier is trained; 0 if more is."""
    from convsmith.training.finetune import Head

    section = chosen.train.finetune
    name, arguments = catalog.split("finetuning", section) if section is not None else ("", {})
    return Head(**arguments).views if name == "head" else 0


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
    """Doubtful labels, by the source's features where there is a source, else by the pixels."""
    import torch

    from convsmith.advice import labels
    from convsmith.training.features import features

    if dataset.encoding is not None:
        return []
    train = dataset.train
    rows = torch.linspace(0, len(train) - 1, min(LABELS, len(train))).long()
    if ready.initial is not None:
        feed = state.train.sample(LABELS)
        net = state.task.model.eval()
        vectors = torch.cat([features(net, batch.images).cpu() for batch in feed.epoch(0)])
    else:
        (pixels,) = train.store.stream([train.rows[rows]])
        images = pixels.float().permute(0, 3, 1, 2)
        side = min(16, images.shape[2])
        small = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        vectors = small.flatten(1)
    own = [item for item in dataset.items if item.split == "train"]
    items = [own[row] for row in rows.tolist()]
    return labels.findings(vectors.numpy(), train.targets[rows].numpy(), items, ready.plan.train.seed)
