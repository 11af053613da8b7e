"""From a recipe with gaps to all that a training is made of: data, machine, the net to start from."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.advice import pretrained
from convsmith.advice.choice import applied, changed
from convsmith.advice.choice import reasons as reasons_of
from convsmith.advice.choices import arithmetic, fill
from convsmith.advice.similarity import PROBED, similarity
from convsmith.advice.strategy import Source
from convsmith.data.batches import Batches
from convsmith.data.dataset import Dataset, prepare
from convsmith.data.scan import Track, silent
from convsmith.errors import UserError
from convsmith.nn.folding import folded
from convsmith.recipe import Plan, Recipe
from convsmith.inference.device import pick_device
from convsmith.run.directory import RunDirectory
from convsmith.training import features, start

# Images whose features' length is measured where nothing else is asked of them.
LENGTHS = 64


@dataclass
class Prepared:
    """A recipe without gaps, the reasons for what filled them, and what it is about.

    ``begin`` is the source's net, or None where the training starts from scratch.
    """

    recipe: Plan
    reasons: dict[str, str]
    dataset: Dataset
    fabric: Fabric
    begin: start.Start | None


def prepared(recipe: Recipe, *, run: RunDirectory | None = None, track: Track[Any] = silent) -> Prepared:
    """Read the data, open the source, and fill the recipe's gaps.

    Args:
        recipe: with gaps.
        run: of a resumed training, where all that it needs of its source is kept.
        track: shows progress.

    Raises:
        UserError: on whatever is wrong with data, recipe or machine.
    """
    accelerator = pick_device(recipe.train.device)
    choices = arithmetic(recipe, accelerator)
    recipe = changed(recipe, choices)
    fabric = _fabric(recipe.train, accelerator)
    if not fabric.is_global_zero:
        track = silent
    dataset = _dataset(recipe, fabric, track)
    dataset.findings.extend(recipe.notes)
    weights, findings = pretrained.choose(recipe, dataset)
    dataset.findings.extend(findings)
    recipe = changed(recipe, weights)
    net = start.architecture(recipe, dataset.size)
    if net is not None:
        recipe = recipe.changed({"model": net})
    begin = _begun(recipe, dataset, run)
    gaps = fill(recipe, dataset, _source(recipe, dataset, begin, fabric))
    plan, reasons = applied(recipe, gaps)
    return Prepared(plan, {**reasons_of([*choices, *weights]), **reasons}, dataset, fabric, begin)


def _dataset(recipe: Recipe, fabric: Fabric, track: Track[list[Path]]) -> Dataset:
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


def _begun(recipe: Recipe, dataset: Dataset, run: RunDirectory | None) -> start.Start | None:
    """The source's net, for this data set; None if the recipe names no source."""
    if recipe.train.start_from is None:
        return None
    torch.manual_seed(recipe.train.seed)
    if run is not None and run.weights.exists():
        # All there is to know of the source is in the run already; the source may have gone since.
        begin = start.initial(recipe.changed({"train.start_from": str(run.path)}), dataset)
        return replace(begin, findings=[])
    begin = start.initial(recipe, dataset)
    dataset.findings.extend(begin.findings)
    return begin


def _source(recipe: Recipe, dataset: Dataset, begin: start.Start | None, fabric: Fabric) -> Source | None:
    """What the choices depend on of the net that is started from."""
    if begin is None:
        return None
    found = Source(new_head=begin.new_head, normalized=begin.normalizer is not None)
    tuning = recipe.train.finetune
    chosen = tuning is not None or "finetune" in recipe.train.model_fields_set
    if tuning is not None:
        wanted = catalog.split("finetuning", tuning)[0] == "head"
    else:
        wanted = begin.new_head and not chosen
    if not wanted or dataset.encoding is not None:
        return found
    train = dataset.train
    rows = torch.linspace(0, len(train) - 1, min(LENGTHS if chosen else PROBED, len(train))).long()
    some = replace(train, rows=train.rows[rows], targets=train.targets[rows])
    feed = Batches(some, begin.normalizer or dataset.normalizer, batch_size=64, device=fabric.device)
    net = folded(begin.model.to(fabric.device), (dataset.channels, dataset.size, dataset.size))
    last, before = features.probes(net, feed)
    if features.possible(begin.model):
        found = replace(found, length=float(last.square().sum(1).mean()))
    if chosen:
        return found
    measured = similarity(last.numpy(), before.numpy(), some.targets.numpy(), recipe.train.seed)
    return replace(found, similarity=measured)


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
