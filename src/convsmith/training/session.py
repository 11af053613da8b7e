"""One training in a run's folder: from a recipe to the files of the run and the net of the best epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from convsmith import recipe as recipes
from convsmith.data.atomic import write
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track, no_track
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.inference import model_file
from convsmith.inference.predictor import Predictor
from convsmith.nn.probe import takes_channels_last
from convsmith.objectives.guessing import guessing
from convsmith.recipe import Plan, Recipe, resuming
from convsmith.run import checkpoint
from convsmith.run.directory import RunDirectory, environment
from convsmith.training import features
from convsmith.training.assemble import assemble
from convsmith.training.auto import Auto
from convsmith.training.callbacks import (
    EarlyStopping,
    Metrics,
    Saves,
    TensorBoard,
    TimeLimit,
    restore,
)
from convsmith.training.head_first import begin, solved_first
from convsmith.training.health import Health
from convsmith.training.loop import Diverged, Fit, fit
from convsmith.training.planning import Planned, planned

RAMP = Finding(
    seen="the ramp loss begins with random weights",
    means="images further on the wrong side than s give no gradient: with random scores for 10 classes one "
    "image in eight has any, with more classes fewer",
    change="train with cross-entropy first, then `start_from` that run with the ramp",
    why="the ramp is not convex; it is there to give up outliers of a net that works",
    source="Wu & Liu 2007",
    name="ramp_from_scratch",
)


@dataclass(frozen=True)
class Trained:
    """A finished training: its state, its images and its findings."""

    state: Fit
    dataset: Dataset
    findings: tuple[Finding, ...]


def train_into(
    run: RunDirectory,
    recipe: Recipe,
    *,
    module: nn.Module | None = None,
    resume: bool = False,
    callbacks: Sequence[object] = (),
    reasons: Mapping[str, str] | None = None,
    track: Track[Any] = no_track,
) -> Trained:
    """Train as ``recipe`` says, into ``run``; the directory must be open (locked) already.

    Args:
        run: where everything is written, by the first process only.
        recipe: with gaps, which are filled from the data; of a resumed run, its own.
        module: a net of the user's own to start from; it stays as it is.
        resume: continue from the run's last checkpoint.
        callbacks: further ones, called on the first process only.
        reasons: for what the caller has chosen in the recipe, by dotted key.
        track: shows the progress of reading the data.

    Raises:
        UserError: on whatever is wrong with data, recipe or machine.
    """
    resumes = resume and run.checkpoint.exists()
    ready = planned(recipe, module=module, run=run if resumes else None, track=track)
    plan, dataset, fabric = ready.plan, ready.dataset, ready.fabric
    if resume and run.data.exists() and run.read_json(run.data)["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"the images of {plan.data.path} have changed since {shown(run.path)} began; restore them, or "
            f"start a new run, e.g. with `start_from={shown(run.path)}`"
        )
    if module is not None:
        plan = plan.changed({"train.start_from": str(run.source.absolute())})
        if fabric.is_global_zero and not run.source.exists():
            first = _predictor(_net(ready), plan, dataset)
            made = model_file.draft(first)
            run.source.mkdir()
            made.write(run.source, first)
    if fabric.is_global_zero and not resumes:
        for callback in callbacks:
            getattr(callback, "on_planned", lambda _: None)(ready)
    track = track if fabric.is_global_zero else no_track
    net = None if ready.initial is None else ready.initial.model
    solved = None if resumes else solved_first(ready, plan, net, track)
    state = assemble(plan, dataset, fabric, net, track, None if solved is None else solved.features)
    findings = (*dataset.findings, *ready.findings, *_noticed(plan, state))
    if resumes:
        restore(state, checkpoint.load(run.checkpoint))
    own: list[object] = []
    if plan.train.early_stopping is not None:
        own.append(EarlyStopping(plan.train.early_stopping.patience))
    if plan.train.minutes is not None:
        own.append(TimeLimit(plan.train.minutes, ready.most))
    if plan.train.auto:
        own.append(Auto(_chance(plan, dataset)))
    if fabric.is_global_zero:
        keepers, limits = _keepers(run, plan, dataset, state)
        findings = (*findings, *limits)
        _describe(run, plan, {**ready.reasons, **(reasons or {})}, dataset, findings)
        if resume:
            _note_changes(run, plan, dataset, state)
        own += keepers
        own += callbacks
    if solved is not None:
        begin(state, solved)
        for callback in own:
            getattr(callback, "on_improvement", lambda _: None)(state)
    fit(state, own)
    return Trained(state, dataset, (*findings, *_nonfinite(state)))


def _chance(plan: Plan, dataset: Dataset) -> float:
    """Loss of guessing; 0 where the targets are no classes."""
    counts = dataset.class_counts()
    if counts is None:
        return 0.0
    return guessing(plan.objective, dict(zip(dataset.classes, counts.tolist())))


def _net(ready: Planned) -> nn.Module:
    assert ready.initial is not None
    return ready.initial.model


def _predictor(model: nn.Module, plan: Plan, dataset: Dataset) -> Predictor:
    """Make the predictor that is saved: the net with the run's preprocessing and classes."""
    shape = (dataset.channels, dataset.size, dataset.size)
    last = plan.train.channels_last or takes_channels_last(model, shape)
    return Predictor.of(model, dataset.normalizer, dataset.signature, channels_last=last)


def _keepers(
    run: RunDirectory, plan: Plan, dataset: Dataset, state: Fit
) -> tuple[list[object], tuple[Finding, ...]]:
    """Callbacks that write the run, and what of the net its file can't carry.

    Raises:
        UserError: if the net can't be written at all: here, before hours are spent on it.
    """
    first = _predictor(features.whole(state.model), plan, dataset)
    draft = model_file.draft(first)
    last = first.pipeline.channels_last

    def save(model: nn.Module) -> None:
        whole = features.whole(model)
        draft.write(run.path, Predictor.of(whole, dataset.normalizer, dataset.signature, channels_last=last))

    keepers: list[object] = [
        Metrics(run),
        Saves(run, save, plan.train.checkpoint_minutes),
        Health(run),
    ]
    if plan.train.tensorboard:
        keepers.append(TensorBoard(run))
    return keepers, draft.findings


def _describe(
    run: RunDirectory,
    plan: Plan,
    reasons: Mapping[str, str],
    dataset: Dataset,
    findings: Sequence[Finding],
) -> None:
    """Write data, files, environment and recipe; a resumed run keeps its first ones."""
    if not run.data.exists():
        whole = replace(dataset, findings=list(findings))
        write(run.data, json.dumps(whole.summary(), indent=1) + "\n")
        run.write_files(
            dataset.items, dataset.columns, dataset.cost_classes, dataset.left_out, dataset.digests
        )
        write(run.environment, json.dumps(environment(), indent=1) + "\n")
    if not run.recipe.exists():
        # Last: a directory with a recipe can be resumed.
        write(run.recipe, recipes.dump(plan, reasons))


def _note_changes(run: RunDirectory, plan: Plan, dataset: Dataset, state: Fit) -> None:
    """Write into a resumed run's recipe, and its list of files, what is otherwise from now on."""
    before = recipes.load_plan(run.recipe)
    found = resuming.differences(plan, before)
    if not found:
        return
    text = run.recipe.read_text(encoding="utf-8")
    write(run.recipe, recipes.amended(text, found, f"since it was resumed in epoch {state.epoch + 1}"))
    if "data.path" in found:
        run.write_files(
            dataset.items, dataset.columns, dataset.cost_classes, dataset.left_out, dataset.digests
        )


def _nonfinite(state: Fit) -> list[Finding]:
    """Finding about epochs whose net answered the validation images with no numbers.

    Raises:
        Diverged: if all did, so that no net is worth keeping.
    """
    bad = [int(row["epoch"]) for row in state.history if not math.isfinite(row["val_loss"])]
    if not bad:
        return []
    if len(bad) == len(state.history):
        raise Diverged(
            f"the validation loss is no finite number in any of {len(bad)} epochs: the learning rate is "
            f"probably too high. Start again with a tenth of it (`optimizer.NAME.lr=...`), or in full "
            f"precision"
        )
    listed = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    return [
        Finding(
            seen=f"the validation loss was no finite number in {len(bad)} of {len(state.history)} epochs: "
            f"{listed}",
            means="their nets were not kept, whatever their accuracy",
            change="lower the rate, or train in full precision (`train.precision=32-true`)",
            why="a net that answers with infinity or NaN has no confidence that could be told",
            source="metrics.csv",
            name="validation_not_finite",
        )
    ]


def _noticed(plan: Plan, state: Fit) -> list[Finding]:
    """Findings of the objective's terms, and about batch norms in several processes."""
    found = [
        finding for term in state.task.objective.terms.values() for finding in getattr(term, "findings", ())
    ]
    if "ramp" in plan.objective and plan.train.start_from is None:
        found.append(RAMP)
    norms = [m for m in state.task.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if state.fabric.world_size == 1 or not norms:
        return found
    return [
        *found,
        Finding(
            seen=f"{state.fabric.world_size} processes train a net with {len(norms)} batch normalizations",
            means=f"each normalizes by its own {plan.data.batch_size // state.fabric.world_size} images of a "
            f"batch, and the first process's running statistics are kept",
            why="statistics of the whole batch would cost a message a layer",
            source="Goyal et al. 2017, section 2.3",
        ),
    ]
