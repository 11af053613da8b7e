"""A whole run: from a recipe to a trained net in its directory."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.advice.choices import Source, fill, precision
from convsmith.advice.similarity import PROBED, similarity
from convsmith.data.batches import Batches, Normalizer
from convsmith.data.dataset import Dataset, prepare
from convsmith.data.scan import Track, silent
from convsmith.data.targets import measure_of
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.objectives import objective as objectives
from convsmith.recipe import Recipe
from convsmith.run import checkpoint
from convsmith.run.device import pick_device
from convsmith.run.directory import RunDirectory, environment, write
from convsmith.run.predictor import Predictor
from convsmith.training import features, start
from convsmith.training.average import exponential_average
from convsmith.training.callbacks import Checkpoints, EarlyStopping, KeepBest, TensorBoard, restore
from convsmith.training.feed import batches, to_device
from convsmith.training.health import Health
from convsmith.training.loop import Fit, fit
from convsmith.training.task import Task
from convsmith.training.tuning import Tuning


def train(
    recipe: Recipe,
    run: RunDirectory,
    *,
    resume: bool = False,
    callbacks: Sequence[object] = (),
    track: Track[list[Path]] = silent,
) -> tuple[Fit, Dataset]:
    """Train as ``recipe`` says, into ``run``; the directory must be open (locked) already.

    Args:
        recipe: with gaps, which are filled from the data; of a resumed run, its own.
        run: where everything is written, by the first process only.
        resume: go on from the run's last checkpoint.
        callbacks: further ones, called on the first process only.
        track: shows the progress of reading the data.

    Raises:
        UserError: on whatever is wrong with data, recipe or machine.
    """
    accelerator = pick_device(recipe.train.device)
    reasons: dict[str, str] = {}
    if recipe.train.precision is None:
        recipe.train.precision, reasons["train.precision"] = precision(accelerator)
    fabric = _fabric(recipe.train, accelerator)
    if not fabric.is_global_zero:
        track = silent
    dataset = _prepared(recipe, fabric, track)
    recipe.model = start.architecture(recipe, dataset.size)
    begin = _begun(recipe, dataset, run, resume=resume and run.checkpoint.exists())
    recipe, more = fill(recipe, dataset, _source(recipe, dataset, begin, fabric))
    reasons.update(more)
    if resume and run.data.exists() and run.read_json(run.data)["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"the images of {recipe.data.path} have changed since {shown(run.path)} began; restore them, or "
            f"start a new run, e.g. with --from {shown(run.path)}"
        )
    state = assemble(recipe, dataset, fabric, begin, track)
    dataset.findings.extend(_device_findings(recipe, state))
    if resume and run.checkpoint.exists():
        restore(state, checkpoint.load(run.checkpoint))
    own: list[object] = []
    if recipe.train.early_stopping is not None:
        own.append(EarlyStopping(recipe.train.early_stopping.patience))
    if fabric.is_global_zero:
        _describe(run, recipe, reasons, dataset)
        own += _keepers(run, recipe, dataset)
        own += callbacks
    fit(state, own)
    if torch.distributed.is_initialized():
        # A process that exits with an open group now and then aborts on the group's threads.
        torch.distributed.destroy_process_group()
    return state, dataset


def _prepared(recipe: Recipe, fabric: Fabric, track: Track[list[Path]]) -> Dataset:
    try:
        return prepare(recipe.data, seed=recipe.train.seed, shared=fabric.world_size > 1, track=track)
    except UserError:
        if fabric.is_global_zero:
            raise
        # The first process finds the same mistake and says it; dying before it has would end it in silence.
        parent, patience = os.getppid(), time.monotonic() + 10
        while os.getppid() == parent and time.monotonic() < patience:
            time.sleep(0.1)
        raise SystemExit(2) from None


def _begun(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, resume: bool) -> start.Start | None:
    """The source's net, for this data set; None if the recipe names no source."""
    if recipe.train.start_from is None:
        return None
    torch.manual_seed(recipe.train.seed)
    assert recipe.model is not None
    if resume and run.weights.exists():
        # All there is to know of the source is in the run already; the source may have gone since.
        begin = start.initial(_from(recipe, run), dataset)
        return replace(begin, findings=[])
    begin = start.initial(recipe, dataset)
    dataset.findings.extend(begin.findings)
    return begin


def _from(recipe: Recipe, run: RunDirectory) -> Recipe:
    recipe = recipe.model_copy(deep=True)
    recipe.train.start_from = str(run.path)
    return recipe


def _source(recipe: Recipe, dataset: Dataset, begin: start.Start | None, fabric: Fabric) -> Source | None:
    """What the choices depend on of the net that is started from."""
    if begin is None:
        return None
    found = Source(new_head=begin.new_head, normalized=begin.normalizer is not None)
    chosen = recipe.train.finetune is not None or "finetune" in recipe.train.model_fields_set
    if not begin.new_head or chosen or dataset.encoding is not None:
        return found
    normalizer = begin.normalizer or dataset.normalizer
    train = dataset.train
    rows = torch.linspace(0, len(train) - 1, min(PROBED, len(train))).long()
    some = replace(train, rows=train.rows[rows], targets=train.targets[rows])
    feed = Batches(some, normalizer, batch_size=64, device=fabric.device)
    net = begin.model.to(fabric.device).eval()
    vectors = torch.cat([features.features(net, batch.images).cpu() for batch in feed.epoch(0)])
    return replace(found, similarity=similarity(vectors.numpy(), some.targets.numpy(), recipe.train.seed))


def _normalizer(begin: start.Start) -> Normalizer:
    if begin.normalizer is None:
        raise UserError(
            "data.normalize.mean=source needs a source that says how its images were normalized: a run, or "
            "one of timm's nets, after --from; leave it out to normalize by the training images"
        )
    return begin.normalizer


def assemble(
    recipe: Recipe,
    dataset: Dataset,
    fabric: Fabric,
    begin: start.Start | None = None,
    track: Track[Any] = silent,
) -> Fit:
    """All parts of a training, fresh, on their device.

    ``begin`` is the net that it starts from; None makes the one that the recipe says.
    """
    options = recipe.train
    assert recipe.optimizer is not None
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
    to_device(dataset.store, fabric.device, recipe.data.memory)
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


def _fabric(options: recipes.Train, accelerator: str) -> Fabric:
    many = options.devices * options.nodes > 1
    if accelerator == "cuda" and options.devices > torch.cuda.device_count():
        raise UserError(
            f"there are {torch.cuda.device_count()} CUDA devices, not {options.devices}; lower --devices"
        )
    # All batches have one of two sizes, so that trying the convolution algorithms pays at once.
    torch.backends.cudnn.benchmark = True
    fabric = Fabric(
        accelerator=accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy="ddp" if many or options.strategy == "ddp" else "auto",
        precision=options.precision,
    )
    fabric.launch()
    return fabric


def _keepers(run: RunDirectory, recipe: Recipe, dataset: Dataset) -> list[object]:
    assert recipe.model is not None
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


def _describe(run: RunDirectory, recipe: Recipe, reasons: dict[str, str], dataset: Dataset) -> None:
    """Write down what is about to happen; a resumed run keeps what it wrote first."""
    if not run.data.exists():
        write(run.data, json.dumps(dataset.summary(), indent=1) + "\n")
        run.write_files(dataset.items, dataset.columns, dataset.cost_classes)
        write(run.environment, json.dumps(environment(), indent=1) + "\n")
    if not run.recipe.exists():
        # Last: a directory with a recipe can be resumed.
        write(run.recipe, recipes.dump(recipe, reasons))


def _device_findings(recipe: Recipe, state: Fit) -> list[Finding]:
    norms = [m for m in state.task.model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    batch = recipe.data.batch_size
    if state.fabric.world_size == 1 or not norms or batch is None:
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
