"""Build the parts of a training from a plan, on their device."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track, no_track
from convsmith.data.targets import measure_of
from convsmith.errors import UserError
from convsmith.nn import manners
from convsmith.objectives import objective as objectives
from convsmith.recipe import Plan
from convsmith.training import source
from convsmith.training.average import exponential_average
from convsmith.training.features import FeatureBatches
from convsmith.training.feed import batches, on_device
from convsmith.training.judging import judge_of
from convsmith.training.loop import Fit
from convsmith.training.task import Task
from convsmith.training.tuning import Tuning

# Updates from which on a training is long.
LONG = 1000


def assemble(
    plan: Plan,
    dataset: Dataset,
    fabric: Fabric,
    model: nn.Module | None = None,
    track: Track[Any] = no_track,
    known: Mapping[str, FeatureBatches] | None = None,
) -> Fit:
    """Build the state of a training before its first step.

    ``model`` is moved to the device and will be trained in place.

    Args:
        plan: a recipe without gaps.
        dataset: the images.
        fabric: of :func:`convsmith.training.machine.launch`.
        model: the net to start from; None builds the one that the plan names.
        track: shows progress while features are computed.
        known: features of ``"train"`` or ``"val"`` that were computed already, for a classifier alone.

    Raises:
        UserError: if parts don't fit together.
    """
    options = plan.train
    if model is None:
        torch.manual_seed(options.seed)
        model = source.build(plan.model, dataset)
    if options.compile:
        _refuse_compile()
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    model = model.to(fabric.device)
    dataset = replace(dataset, store=on_device(dataset.store, fabric.device, plan.data.memory_share))
    tuning = Tuning(plan, dataset, model, fabric)
    net = model
    facts = {
        "num_classes": lambda: len(dataset.classes),
        "num_features": lambda: manners.num_features(net),
        "classes": lambda: list(dataset.classes),
        "counts": dataset.class_counts,
        "model": lambda: net,
        "shape": lambda: (dataset.channels, dataset.size, dataset.size),
        **tuning.facts,
    }
    objective, regularizers = objectives.build(
        {**plan.objective, **tuning.terms}, targets=dataset.kind, facts=facts
    )
    feed: dict[str, Any] = batches(
        plan,
        dataset,
        fabric,
        with_costs="costs" in objective.needs or options.choose_by == "expected_cost",
    )
    model, feed = tuning.on_features(feed, track, known or {})
    torch.manual_seed(options.seed)
    task = Task(model, objective).to(fabric.device)
    optimizer = catalog.build("optimizer", plan.optimizer, params=tuning.groups(task))
    if isinstance(optimizer, torch.optim.LBFGS):
        _refuse_for_lbfgs(options, fabric.world_size)
    for regularizer in regularizers.values():
        regularizer.attach(model, optimizer)
    # Trying all algorithms for each layer and batch size takes a GPU half a minute: a long training earns it.
    torch.backends.cudnn.benchmark = len(feed["train"]) * options.epochs >= LONG
    measure = measure_of(dataset.encoding)
    # dynamic=False: an epoch has batches of two sizes, and each deserves its own code.
    wrapped, wrapped_optimizer = fabric.setup(
        torch.compile(task, dynamic=False) if options.compile else task, optimizer
    )
    return Fit(
        fabric=fabric,
        task=task,
        wrapped=wrapped,
        optimizer=wrapped_optimizer,
        schedule=catalog.build("schedule", plan.schedule),
        train=feed["train"],
        val=feed["val"],
        epochs=options.epochs,
        seed=options.seed,
        accumulate=options.accumulate,
        clip=options.clip,
        average=exponential_average(task.model, options.ema.decay) if options.ema else None,
        regularizers=regularizers,
        measure=measure,
        judge=judge_of(options.choose_by, measure, dataset),
        chosen_by=options.choose_by or measure.name,
        freeze=tuning.freeze,
        validate_every=options.validate_every,
    )


def _refuse_for_lbfgs(options: recipes.Train, processes: int) -> None:
    """Refuse several processes, accumulation and scaled losses, which L-BFGS can't have."""
    for given, remedy in (
        (processes > 1, "train with one process"),
        (options.accumulate > 1, "leave out train.accumulate, and raise data.batch_size"),
        (options.clip is not None, "leave out train.clip"),
        (options.precision == "16-mixed", "set train.precision=32-true"),
    ):
        if given:
            raise UserError(f"optimizer lbfgs evaluates a batch several times an update: {remedy}")


def _refuse_compile() -> None:
    """Refuse ``train.compile`` where there is no C++ compiler, which torch.compile needs."""
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UserError("train.compile needs a C++ compiler; install one (g++), or leave it out")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise UserError("train.compile needs Python's headers; install them (python3-dev), or leave it out")
