"""How long a training takes on this machine, measured on its own steps, and what fits into minutes."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import nn

from convsmith import catalog
from convsmith.advice.choice import Choice
from convsmith.advice.machine import Estimate, estimate
from convsmith.advice.rate import tuned
from convsmith.data.dataset import Dataset
from convsmith.findings import Finding
from convsmith.nn.probe import evaluating
from convsmith.nn.stages import stages
from convsmith.recipe import Plan
from convsmith.training import source
from convsmith.training.feed import batches
from convsmith.training.finetune import freezer

# Most epochs that more minutes may buy: of a trained net, and from scratch.
MOST = {True: 30, False: 100}
# Updates below which random weights stay what they are, and as many as are proposed then.
FEW, ENOUGH = 300, 1000


@dataclass(frozen=True)
class Timing:
    """Measured cost of a training.

    Args:
        step: of one update, forward and back, through the layers that learn; ``updates`` are one epoch's.
        forward: seconds of one image in evaluation.
        solving: images that pass once, before the first epoch, for a classifier that is solved.
        validation: images that are evaluated after each epoch.
    """

    step: Estimate
    forward: float
    solving: int
    validation: int

    @property
    def epoch(self) -> float:
        """Seconds of one epoch with its validation."""
        return self.step.seconds + self.validation * self.forward

    def seconds(self, epochs: int) -> float:
        """Seconds of ``epochs`` epochs, from the classifier on."""
        return self.solving * self.forward + epochs * self.epoch


def measured(plan: Plan, dataset: Dataset, fabric: Fabric, net: nn.Module | None) -> Timing:
    """Run a few steps of the plan's training on a copy of ``net`` (None: the plan's own, from scratch)."""
    net = copy.deepcopy(net) if net is not None else source.build(plan.model, dataset)
    if plan.train.channels_last:
        net = net.to(memory_format=torch.channels_last)
    net = net.to(fabric.device)
    if plan.train.finetune is not None:
        technique = catalog.build("finetuning", plan.train.finetune)
        found = stages(net, (dataset.channels, dataset.size, dataset.size))
        freeze = freezer(net, found, technique(len(found)))
        if freeze is not None:
            freeze(1.0)
    feed = batches(plan, dataset, fabric, with_costs=False)
    images = next(iter(feed["train"].epoch(0))).images
    step = estimate(net, images, updates=len(feed["train"]), frozen=plan.train.epochs == 0)
    with torch.inference_mode(), evaluating(net):
        net(images)
        start = time.perf_counter()
        net(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        forward = (time.perf_counter() - start) / len(images)
    validation = len(feed["val"].split)
    solving = len(dataset.train) + validation if plan.train.head_first else 0
    return Timing(step, forward, solving, validation)


def fitted(plan: Plan, timing: Timing, *, trained: bool, given: bool) -> list[Choice]:
    """The number of epochs that fits into ``train.minutes``, and what the training takes.

    Args:
        plan: whose epochs were chosen without a clock.
        timing: of the plan.
        trained: whether its weights are trained already.
        given: whether the recipe says how many epochs, which stay then.

    Returns:
        nothing where the epochs stay: they are given, or the classifier alone is trained.
    """
    minutes = plan.train.minutes
    # An epoch of the classifier alone costs milliseconds, whatever the net's own steps take.
    if minutes is None or given or tuned(plan) == "head":
        return []
    left = 60 * minutes - timing.seconds(0)
    fits = int(left / timing.epoch) if timing.epoch else MOST[trained]
    epochs = max(0 if plan.train.head_first else 1, min(fits, MOST[trained]))
    return [
        Choice(
            "train.epochs", epochs, f"as many as fit into {minutes:g} minutes here, at most {MOST[trained]}"
        )
    ]


def scarce(plan: Plan, timing: Timing, *, trained: bool) -> list[Finding]:
    """Finding about minutes that are too few for random weights to learn."""
    minutes, updates = plan.train.minutes, plan.train.epochs * timing.step.updates
    if minutes is None or trained or plan.train.head_first or updates >= FEW:
        return []
    wanted = timing.seconds(math.ceil(ENOUGH / max(1, timing.step.updates))) / 60
    return [
        Finding(
            seen=f"{minutes:g} minutes are enough for {plan.train.epochs} epochs of "
            f"{timing.step.updates} updates, from random weights",
            means="the net may hardly learn",
            change=f"give it time (`train.minutes={max(1, math.ceil(wanted))}`), a smaller net or smaller "
            f"images (`data.size=96`), or trained weights (`start_from=RUN`)",
            why="a net learns by updates, and few images make few of them an epoch",
            source="Hoffer et al. 2017, on updates instead of epochs",
            name="few_minutes",
        )
    ]


def words(seconds: float) -> str:
    """A time as people say it.

    >>> words(95), words(600)
    ('95 seconds', '10 minutes')
    """
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
