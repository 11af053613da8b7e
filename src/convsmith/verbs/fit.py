"""The verb that trains a module in place, without a run's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track, no_track
from convsmith.errors import expect
from convsmith.verbs.progress import shown_progress
from convsmith.verbs.words import Overrides, RecipeWords, recipe_of

if TYPE_CHECKING:
    from torch import nn

    from convsmith.training.loop import Fit


def fit(
    model: nn.Module,
    data: str | Path | Dataset,
    *,
    recipe: RecipeWords = None,
    set: Overrides = (),
    epochs: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    callbacks: Sequence[object] = (),
    track: Track[list[Path]] = no_track,
    progress: bool | None = None,
) -> Fit:
    """Train a torch module in place on labelled images; no files are written.

    The training is that of :func:`convsmith.train`, but without a folder, checkpoints and the choice of the
    best epoch: afterwards ``model`` has the last epoch's weights, in float32, and is on the training's
    device; which weights may learn (``requires_grad``) is as before.

    Args:
        model: from images (N, C, H, W) to logits (N, K).
        data: folder, CSV or built-in name, or an open data set.
        recipe, set, epochs, seed, device: as in :func:`convsmith.train`.
        callbacks: see :func:`convsmith.training.loop.fit`.
        track: shows the progress of reading the data.
        progress: a line an epoch; None shows it on a terminal and in a notebook.

    Returns:
        the training's state: ``history`` has a row for each epoch, ``best`` is one of them.

    Raises:
        UserError: on a mistake in what was given, or a net that doesn't fit the images.
    """
    import torch

    from convsmith.inference.pipeline import dtype_of
    from convsmith.training import loop
    from convsmith.training.assemble import assemble
    from convsmith.training.head_first import begin, solved_first
    from convsmith.training.planning import planned

    expect("model", model, torch.nn.Module, "a torch module")
    options = {"epochs": epochs, "seed": seed, "device": device}
    path = None if isinstance(data, Dataset) else data
    expect("data", data, (str, os.PathLike, Dataset), "a folder, a CSV, a built-in name or a data set")
    words = recipe_of(path, None, None, recipe, set, options)
    dataset = data if isinstance(data, Dataset) else None
    ready = planned(words, module=model, dataset=dataset, track=track)
    assert ready.initial is not None
    # Planning replaced the classifier of a copy if needed; do the same to the user's module.
    if ready.initial.new_head:
        from convsmith.nn import manners
        from convsmith.training.source import zero_init_

        manners.replace_classifier_(model, len(ready.dataset.classes))
        zero_init_(model)
    if dtype_of(model) != torch.float32:
        model.float()  # as the plan's copy: images come in float32
    learns = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        solved = solved_first(ready, ready.plan, model, track)
        known = None if solved is None else solved.features
        state = assemble(ready.plan, ready.dataset, ready.fabric, model, track, known)
        if solved is not None:
            begin(state, solved)
        with shown_progress(progress) as shows:
            loop.fit(state, [*callbacks, *shows])
    finally:
        # A fine-tuning freezes layers for a while.
        for parameter, learned in learns.items():
            parameter.requires_grad_(learned)
    if state.average is not None:
        model.load_state_dict(state.average.module.state_dict())
    return state
