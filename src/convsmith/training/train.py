"""A whole run: from a recipe to a trained net in its directory."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.nn.normalizer import Normalizer
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track, silent
from convsmith.data.targets import measure_of
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.objectives import objective as objectives
from convsmith.recipe import Plan, Recipe
from convsmith.run import checkpoint
from convsmith.data.atomic import write
from convsmith.run.directory import RunDirectory, environment
from convsmith.inference.predictor import Predictor
from convsmith.training import features, start
from convsmith.training.auto import Auto
from convsmith.training.average import exponential_average
from convsmith.training.callbacks import Checkpoints, EarlyStopping, KeepBest, TensorBoard, restore
from convsmith.training.feed import batches, to_device
from convsmith.training.health import Health
from convsmith.training.loop import Fit, fit
from convsmith.training.prepared import prepared
from convsmith.training.task import Task
from convsmith.training.tuning import Tuning


def train(
    recipe: Recipe,
    run: RunDirectory,
    *,
    resume: bool = False,
    callbacks: Sequence[object] = (),
    reasons: Mapping[str, str] | None = None,
    track: Track[Any] = silent,
) -> tuple[Fit, Dataset]:
    """Train as ``recipe`` says, into ``run``; the directory must be open (locked) already.

    Args:
        recipe: with gaps, which are filled from the data; of a resumed run, its own.
        run: where everything is written, by the first process only.
        resume: go on from the run's last checkpoint.
        callbacks: further ones, called on the first process only.
        reasons: for what the caller has chosen in the recipe, by dotted key.
        track: shows the progress of reading the data.

    Raises:
        UserError: on whatever is wrong with data, recipe or machine.
    """
    resumes = resume and run.checkpoint.exists()
    ready = prepared(recipe, run=run if resumes else None, track=track)
    plan, dataset, fabric = ready.recipe, ready.dataset, ready.fabric
    if resume and run.data.exists() and run.read_json(run.data)["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"the images of {plan.data.path} have changed since {shown(run.path)} began; restore them, or "
            f"start a new run, e.g. with --from {shown(run.path)}"
        )
    state = assemble(plan, dataset, fabric, ready.begin, track if fabric.is_global_zero else silent)
    dataset.findings.extend(_device_findings(plan, state))
    if resumes:
        restore(state, checkpoint.load(run.checkpoint))
    own: list[object] = []
    if plan.train.early_stopping is not None:
        own.append(EarlyStopping(plan.train.early_stopping.patience))
    if plan.train.auto:
        own.append(Auto())
    if fabric.is_global_zero:
        _describe(run, plan, {**ready.reasons, **(reasons or {})}, dataset)
        own += _keepers(run, plan, dataset)
        own += callbacks
    fit(state, own)
    if torch.distributed.is_initialized():
        # A process that exits with an open group now and then aborts on the group's threads.
        torch.distributed.destroy_process_group()
    return state, dataset


def _normalizer(begin: start.Start) -> Normalizer:
    if begin.normalizer is None:
        raise UserError(
            "data.normalize.mean=source needs a source that says how its images were normalized: a run, or "
            "one of timm's nets, after --from; leave it out to normalize by the training images"
        )
    return begin.normalizer


def assemble(
    recipe: Plan,
    dataset: Dataset,
    fabric: Fabric,
    begin: start.Start | None = None,
    track: Track[Any] = silent,
) -> Fit:
    """All parts of a training, fresh, on their device.

    ``begin`` is the net that it starts from; None makes the one that the recipe says.
    """
    options = recipe.train
    if begin is None:
        torch.manual_seed(options.seed)
        begin = start.initial(recipe, dataset)
    if recipe.data.normalize.mean == "source":
        dataset.normalizer = _normalizer(begin)
    model = begin.model
    if options.compile:
        _refuse_compile()
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    model = model.to(fabric.device)
    to_device(dataset.store, fabric.device, recipe.data.memory_share)
    objective, regularizers = objectives.build(
        recipe.objective,
        targets=dataset.kind,
        classes=dataset.classes,
        counts=dataset.class_counts(),
        num_features=start.num_features(model),
    )
    feed: dict[str, Any] = batches(recipe, dataset, fabric, with_costs="costs" in objective.needs)
    tuning = Tuning(recipe, dataset, model, fabric)
    objective = tuning.objective(objective)
    model, feed = tuning.on_features(feed, track)
    torch.manual_seed(options.seed)
    task = Task(model, objective).to(fabric.device)
    optimizer = catalog.build("optimizer", recipe.optimizer, params=tuning.groups(task))
    if isinstance(optimizer, torch.optim.LBFGS):
        _refuse_for_lbfgs(options, fabric.world_size)
    for regularizer in regularizers.values():
        regularizer.attach(model, optimizer)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] * group.get("scale", 1.0)
    # dynamic=False: an epoch has batches of two sizes, and each deserves its own code.
    wrapped, wrapped_optimizer = fabric.setup(
        torch.compile(task, dynamic=False) if options.compile else task, optimizer
    )
    return Fit(
        fabric=fabric,
        task=task,
        wrapped=wrapped,
        optimizer=wrapped_optimizer,
        schedule=catalog.build("schedule", recipe.schedule),
        train=feed["train"],
        val=feed["val"],
        epochs=options.epochs,
        seed=options.seed,
        accumulate=options.accumulate,
        clip=options.clip,
        average=exponential_average(task.model, options.ema.decay) if options.ema else None,
        regularizers=regularizers,
        measure=measure_of(dataset.encoding),
        freeze=tuning.freeze,
    )


def _refuse_for_lbfgs(options: recipes.Train, processes: int) -> None:
    """Its line search evaluates a batch until it is content: alone, at once, and without scaled losses."""
    for given, remedy in (
        (processes > 1, "train with one process"),
        (options.accumulate > 1, "leave out train.accumulate, and raise data.batch_size"),
        (options.clip is not None, "leave out train.clip"),
        (options.precision == "16-mixed", "set train.precision=32-true"),
    ):
        if given:
            raise UserError(f"optimizer lbfgs evaluates a batch several times an update: {remedy}")


def _refuse_compile() -> None:
    """torch.compile writes C++ and builds it; say what is missing before an hour is planned around it."""
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UserError("train.compile needs a C++ compiler; install one (g++), or leave it out")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise UserError("train.compile needs Python's headers; install them (python3-dev), or leave it out")


def _keepers(run: RunDirectory, recipe: Plan, dataset: Dataset) -> list[object]:
    spec = recipe.model

    def save(model: torch.nn.Module) -> None:
        Predictor(
            features.whole(model),
            spec,
            dataset.classes,
            dataset.size,
            dataset.channels,
            dataset.normalizer,
            dataset.columns,
            dataset.encoding,
            dataset.costs,
            dataset.stored,
        ).save(run)

    keepers: list[object] = [
        KeepBest(save),
        Checkpoints(run, recipe.train.checkpoint_minutes),
        Health(run),
    ]
    if recipe.train.tensorboard:
        keepers.append(TensorBoard(run))
    return keepers


def _describe(run: RunDirectory, recipe: Plan, reasons: dict[str, str], dataset: Dataset) -> None:
    """Write down what is about to happen; a resumed run keeps what it wrote first."""
    if not run.data.exists():
        write(run.data, json.dumps(dataset.summary(), indent=1) + "\n")
        run.write_files(dataset.items, dataset.columns, dataset.cost_classes)
        write(run.environment, json.dumps(environment(), indent=1) + "\n")
    if not run.recipe.exists():
        # Last: a directory with a recipe can be resumed.
        write(run.recipe, recipes.dump(recipe, reasons))


def _device_findings(recipe: Plan, state: Fit) -> list[Finding]:
    norms = [m for m in state.task.model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    batch = recipe.data.batch_size
    if state.fabric.world_size == 1 or not norms:
        return []
    return [
        Finding(
            seen=f"{state.fabric.world_size} processes train a net with {len(norms)} batch normalizations",
            means=f"each normalizes by its own {batch // state.fabric.world_size} images of a batch, "
            f"and the first process's running statistics are kept",
            change="",
            why="statistics of the whole batch would cost a message a layer",
            source="Goyal et al. 2017, section 2.3",
        )
    ]


def rank() -> int:
    """This process's number among all that train together, before Fabric launches anything."""
    variables = os.environ
    if "RANK" in variables:  # torchrun
        return int(variables["RANK"])
    if SLURMEnvironment.detect():
        return int(variables["SLURM_PROCID"])
    return int(variables.get("NODE_RANK", 0)) + int(variables.get("LOCAL_RANK", 0))
