"""A new classifier is solved in closed form before the net below it is tuned (Kumar et al. 2022)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from convsmith.advice.choices import counts_alike
from convsmith.data.batches import Batches
from convsmith.data.dataset import Dataset
from convsmith.data.scan import Track
from convsmith.errors import UserError
from convsmith.nn import manners
from convsmith.nn.probe import evaluating
from convsmith.nn.ridge import Moments, Ridge, ridge, temperature
from convsmith.recipe import Plan
from convsmith.training.assemble import assemble
from convsmith.training.features import FeatureBatches, possible, refuse_nonfinite
from convsmith.training.features import features as features_of
from convsmith.training.loop import Feed, Fit, Row, evaluated
from convsmith.training.planning import Planned

# Training images that the solved classifier is evaluated on, where their features weren't kept.
SAMPLE = 2000


@dataclass(frozen=True)
class Solved:
    """A classifier that was solved: its figures as epoch 0 of a training, and the features by split."""

    row: Row
    features: dict[str, FeatureBatches]


def solve_head_(
    plan: Plan,
    dataset: Dataset,
    fabric: Fabric,
    net: nn.Module,
    track: Track[Any],
    known: Tensor | None = None,
) -> Solved | None:
    """Set the classifier of ``net`` to the ridge regression on its features.

    A random classifier sends random gradients into trained layers, which spoils them for images that differ
    from the new ones; a good one doesn't. So a model that works stands after one pass over the images.

    Args:
        plan: whose objective is reported.
        dataset: the images.
        fabric: of the training.
        net: changed in place; which weights may learn is as before.
        track: shows progress while features are computed.
        known: features of all training images (N, D), if they were computed already.

    Returns:
        None if the classifier isn't linear, or if the features don't fit into memory in a training of
        several processes. The net is as before then.
    """
    started = time.perf_counter()
    learns = {parameter: parameter.requires_grad for parameter in net.parameters()}
    try:
        state = assemble(_alone(plan), dataset, fabric, net, track, _features(dataset, known))
        train, val = state.train, state.val
        if isinstance(train, FeatureBatches) and isinstance(val, FeatureBatches):
            _set_(net, train, plan, dataset)
            row = _row(state, train, train.views.shape[1], started)
            return Solved(row, {"train": train, "val": val})
        if not possible(net) or fabric.world_size > 1:
            return None
        assert isinstance(train, Batches)
        _set_from_images_(net, train, plan, dataset, track)
        return Solved(_row(state, train.sample(SAMPLE), len(dataset.train), started), {})
    finally:
        for parameter, learned in learns.items():
            parameter.requires_grad_(learned)


def solved_first(ready: Planned, plan: Plan, net: nn.Module | None, track: Track[Any]) -> Solved | None:
    """Solve the new classifier of ``net`` if the plan says so; None if it doesn't, or it can't be solved.

    Raises:
        UserError: if then nothing would be trained at all.
    """
    wanted = plan.train.head_first and ready.initial is not None and ready.initial.new_head
    found = None
    if wanted and net is not None:
        found = solve_head_(plan, ready.dataset, ready.fabric, net, track, ready.features)
    if found is None and plan.train.epochs == 0:
        why = "the classifier of this net isn't solved" if wanted else "no classifier is solved"
        raise UserError(f"`train.epochs=0` trains nothing, and {why}; set `train.epochs=40`")
    return found


def begin(state: Fit, solved: Solved) -> None:
    """Put the solved classifier's figures before the first epoch."""
    state.history, state.best = [solved.row], solved.row
    state.seconds = state.counted = solved.row["seconds"]


def _features(dataset: Dataset, known: Tensor | None) -> dict[str, FeatureBatches]:
    """What :func:`assemble` takes for the features of the training images."""
    if known is None:
        return {}
    return {"train": FeatureBatches(None, known[None], dataset.train.targets[None])}  # type: ignore[arg-type]


def _alone(plan: Plan) -> Plan:
    """The plan with the classifier alone and no more than what evaluating it needs."""
    train = {"finetune": {"head": {"views": 1}}, "head_first": False, "ema": None, "compile": False}
    return plan.changed(
        {
            **{f"train.{key}": value for key, value in train.items()},
            "optimizer": "sgd",
            "data.sampler": "shuffle",
        }
    )


def _set_(net: nn.Module, feed: FeatureBatches, plan: Plan, dataset: Dataset) -> None:
    """Set the classifier by features that are in memory."""
    features, targets = feed.views[0], feed.targets[0]
    refuse_nonfinite(features)
    weights = _weights(plan, targets)
    _write_(net, ridge(features, targets, weights), targets, weights, numbers=dataset.kind == "numbers")


def _set_from_images_(net: nn.Module, feed: Batches, plan: Plan, dataset: Dataset, track: Track[Any]) -> None:
    """Set the classifier by features that don't fit into memory: each batch's are counted and forgotten."""
    plain = feed.in_order(plain=True)
    targets = feed.split.targets.cpu()
    weights = _weights(plan, targets)
    moments = Moments(targets, weights)
    with evaluating(net):
        for batch in track(plain.epoch(0), len(plain), "Features"):
            found = features_of(net, batch.images).cpu()
            refuse_nonfinite(found)
            moments.add(found)
    _write_(net, moments.solved(), targets, weights, numbers=dataset.kind == "numbers")


@torch.no_grad()
def _write_(net: nn.Module, found: Ridge, targets: Tensor, weights: Tensor | None, *, numbers: bool) -> None:
    """Take a solution; unless it gives numbers, scaled to logits of least cross-entropy."""
    classifier: Any = manners.classifier(net)
    own = None if weights is None else weights[found.rows]
    factor = 1.0 if numbers else temperature(found.left_out, targets[found.rows], own)
    classifier.weight.copy_(factor * found.weight)
    if classifier.bias is not None:
        classifier.bias.copy_(factor * found.bias)


def _weights(plan: Plan, targets: Tensor) -> Tensor | None:
    """Weights (N,) of the images where the plan asks for classes that count alike."""
    return _even(targets) if counts_alike(plan) and targets.ndim == 1 else None


def _even(targets: Tensor) -> Tensor:
    """Weights (N,) by which every class counts alike."""
    counts = targets.bincount()
    return (1 / counts.double())[targets]


def _row(state: Fit, feed: Feed, images: int, started: float) -> Row:
    """The row of metrics.csv for a classifier that was solved, by one pass over what ``feed`` has."""
    seconds = time.perf_counter() - started
    return {
        "epoch": 0,
        "lr": 0.0,
        **evaluated(state, feed, "train"),
        **evaluated(state, state.val, "val"),
        "images_per_second": images / seconds,
        "seconds": seconds,
    }
