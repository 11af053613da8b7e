"""Batches of the train and val splits, with the recipe's sampler and augmentations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric

from convsmith import catalog
from convsmith.data import augment as augmentations
from convsmith.data.augment import Augment
from convsmith.data.batches import Batches, Split
from convsmith.data.dataset import Dataset
from convsmith.data.pixels import Decoded, Store
from convsmith.errors import UserError
from convsmith.objectives import objective as objectives
from convsmith.recipe import Plan, Recipe


def batches(recipe: Plan, dataset: Dataset, fabric: Fabric, *, with_costs: bool) -> dict[str, Batches]:
    train, val = dataset.split("train"), dataset.split("val")
    assert train is not None
    assert val is not None
    if with_costs and dataset.costs is None and train.costs is None:
        raise UserError(
            "the objective, or train.choose_by, asks what mistakes cost: name a table with "
            "`data.costs.table.file=costs.csv`, or give each image of a CSV its own in columns cost_CLASS"
        )
    if not with_costs:
        train, val = replace(train, costs=None), replace(val, costs=None)
    common: dict[str, Any] = {
        "device": fabric.device,
        "channels_last": recipe.train.channels_last,
        "costs": dataset.costs if with_costs else None,
        "seed": recipe.train.seed,
        "rank": fabric.global_rank,
        "world": fabric.world_size,
    }
    augment = augment_of(recipe, dataset)
    if augment is not None:
        train = replace(train, store=dataset.store)  # at the stored size, from which crops are taken
    sampler = _sampler(recipe, dataset, train)
    size = recipe.data.batch_size
    return {
        "train": Batches(
            train,
            dataset.normalizer,
            batch_size=size,
            sampler=sampler,
            augment=augment,
            crops=recipe.data.crops,
            **common,
        ),
        "val": Batches(val, dataset.normalizer, batch_size=2 * size, **common),
    }


def augment_of(recipe: Recipe, dataset: Dataset) -> Augment | None:
    """Build the recipe's augmentations from it and the facts about the data; None if there are none."""
    section = recipe.data.augment or {}
    built = augmentations.build(section, **dataset.facts())
    for name, own in zip(section, built):
        if hasattr(own, "mix") and dataset.encoding is None:
            _refuse_unmixed(name, recipe.objective)
    return Augment(built, len(dataset.classes), dataset.size) if built else None


def _refuse_unmixed(name: str, objective: Mapping[str, Any]) -> None:
    """Refuse terms that take only one of classes (validation) and distributions (mixed training images)."""
    for term in objective:
        wanted = objectives.targets_of(term) if term in catalog.names("term") else ()
        if wanted and not {"classes", "distribution"} <= set(wanted):
            raise UserError(
                f"{name} makes targets between classes, which objective {term} can't compare with; take "
                f"cross_entropy in its place, or take {name} out (`data.augment.{name}=null`)"
            )


def _sampler(recipe: Recipe, dataset: Dataset, train: Split) -> Any:
    name, _ = catalog.split("sampler", recipe.data.sampler)
    if dataset.encoding is not None and name != "shuffle":
        raise UserError(f"sampler {name} is for classes; the targets are {dataset.kind}: take shuffle")
    return catalog.build("sampler", recipe.data.sampler, targets=train.targets, seed=recipe.train.seed)


def on_device(store: Store, device: torch.device, share: float) -> Store:
    """Move the pixels to the GPU if they fit into ``share`` of its free memory; else keep the store."""
    if device.type != "cuda" or not isinstance(store, Decoded) or store.pixels.device == device:
        return store
    if store.pixels.nbytes > share * torch.cuda.mem_get_info(device)[0]:
        return store
    return Decoded(store.pixels.to(device), store.where)
