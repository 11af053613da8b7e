"""From a recipe with gaps to a plan: read the data, open the source net, choose what is open."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from convsmith import catalog
from convsmith.advice import pretrained
from convsmith.advice import similarity as similarities
from convsmith.advice.choice import Choice, applied, changed
from convsmith.advice.choice import reasons as reasons_of
from convsmith.advice.choices import arithmetic, fill
from convsmith.advice.similarity import PROBED, sampled, similarity
from convsmith.advice.strategy import Source
from convsmith.data.batches import Batches
from convsmith.data.dataset import Dataset
from convsmith.data.decoded import here
from convsmith.data.opened import open_data
from convsmith.data.scan import Track, no_track
from convsmith.errors import UserError
from convsmith.findings import Finding
from convsmith.inference.allocator import keep_freed_memory
from convsmith.inference.device import pick_device
from convsmith.nn.folding import folded
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.probe import evaluating, takes_channels_last
from convsmith.recipe import Plan, Recipe
from convsmith.run.directory import RunDirectory
from convsmith.run.recorded import recorded, source_sides
from convsmith.training import features, machine, source
from convsmith.training import timing as timings
from convsmith.training.source import Initial
from convsmith.training.timing import Timing

# Number of images whose feature length is measured, where nothing else needs their features.
LENGTHS = 64
# Number of training images on which a user's own module is tested.
KNOWN = 256


@dataclass(frozen=True)
class Planned:
    """A plan, the reasons for its choices, and the data and net that it is for.

    ``initial`` is the net that the training starts from, or None where it starts from scratch. ``features``
    (N, D) are those of all training images, where looking at them needed all. ``known`` is what was found out
    about the net to start from, and ``timing`` what the training costs here; None where it wasn't measured.
    ``most`` is the number of epochs that a clock may make of it.
    """

    plan: Plan
    reasons: dict[str, str]
    dataset: Dataset
    fabric: Fabric
    initial: Initial | None
    findings: tuple[Finding, ...] = ()
    features: Tensor | None = None
    known: Source | None = None
    timing: Timing | None = None
    most: int = 0


def planned(
    recipe: Recipe,
    *,
    module: nn.Module | None = None,
    run: RunDirectory | None = None,
    dataset: Dataset | None = None,
    track: Track[Any] = no_track,
    timed: bool = False,
) -> Planned:
    """Read the data, open the source, and fill the recipe's gaps.

    Args:
        recipe: with gaps.
        module: a net of the user's own, in the place of a source; it stays as it is.
        run: of a resumed training, where all that it needs of its source is kept.
        dataset: the images, if they are open already; None opens the recipe's.
        track: shows progress.
        timed: whether to measure what the training costs, also where nothing depends on it.

    Raises:
        UserError: on whatever is wrong with data, recipe or machine.
    """
    ready = _planned(recipe, module=module, run=run, dataset=dataset, track=track, timed=timed)
    minutes = ready.plan.train.minutes
    if module is not None or minutes is None or ready.timing is None or ready.known is None:
        return ready
    if not pretrained.is_open(recipe, ready.dataset):
        return ready
    longest = timings.MOST[True] if ready.plan.train.epochs else 0
    # Asking the larger ones may take a tenth of the time.
    asking = 10 * len(pretrained.LADDER) * PROBED * ready.timing.forward
    place = pretrained.rung(60 * minutes / max(1e-9, ready.timing.seconds(longest), asking))
    # A larger net is no better on images that are unlike its source's: each is asked, the largest first.
    for rung in range(place, 0, -1):
        other = _planned(recipe, run=run, dataset=ready.dataset, track=track, timed=timed, place=rung)
        if _better(other, ready):
            return other
    return ready


def _better(other: Planned, ready: Planned) -> bool:
    """Whether the features of another source are measured to be better for the same images."""
    found = [plan.known.similarity if plan.known is not None else None for plan in (other, ready)]
    return found[0] is not None and found[1] is not None and similarities.better(found[0], found[1])


def _planned(
    recipe: Recipe,
    *,
    module: nn.Module | None = None,
    run: RunDirectory | None,
    dataset: Dataset | None,
    track: Track[Any],
    timed: bool,
    place: int = 0,
) -> Planned:
    """See :func:`planned`, with the pretrained net at a place of the ladder."""
    accelerator = pick_device(recipe.train.device)
    if accelerator == "cpu" and recipe.train.allocator == "auto":
        keep_freed_memory()
    choices = arithmetic(recipe, accelerator)
    recipe = changed(recipe, choices)
    fabric = machine.launch(recipe.train, accelerator)
    track = track if fabric.is_global_zero else no_track
    dataset = dataset if dataset is not None else _dataset(recipe, fabric, module, run, track)
    findings = [*recipe.notes]
    if module is None:
        weights, found = pretrained.choose(recipe, dataset, place)
        findings += found
        recipe, choices = changed(recipe, weights), [*choices, *weights]
    net = source.architecture(recipe, dataset.size, module)
    recipe = recipe if net is None else recipe.changed({"model": net})
    initial = _initial(recipe, dataset, module, run)
    if initial is not None:
        findings += initial.findings
        order = _order(recipe, dataset, initial.model)
        recipe, choices = changed(recipe, order), [*choices, *order]
    known, last = _known(recipe, dataset, initial, fabric)
    if known is not None and module is not None and initial is not None:
        known = replace(known, trained=initial.new_head or _knows(initial.model, recipe, dataset, fabric))
    gaps = fill(recipe, dataset, known)
    plan, reasons = applied(recipe, gaps)
    timing = None
    given = "epochs" in recipe.train.model_fields_set
    trained = known.trained if known is not None else False
    if run is None and (timed or plan.train.minutes is not None):
        timing = timings.measured(plan, dataset, fabric, None if initial is None else initial.model)
        if fabric.world_size > 1:  # all must plan as many epochs
            timing = fabric.broadcast(timing)
        fits = timings.fitted(plan, timing, trained=trained, given=given)
        plan, reasons = changed(plan, fits), {**reasons, **reasons_of(fits)}
        findings += timings.scarce(plan, timing, trained=trained)
    if plan.data.normalize.mean == "source":
        dataset = replace(dataset, normalizer=_normalizer(initial))
    return Planned(
        plan,
        {**reasons_of(choices), **reasons},
        dataset,
        fabric,
        initial,
        tuple(findings),
        last,
        known,
        timing,
        plan.train.epochs if given else max(plan.train.epochs, timings.MOST[trained]),
    )


def _dataset(
    recipe: Recipe,
    fabric: Fabric,
    module: nn.Module | None,
    run: RunDirectory | None,
    track: Track[list[Path]],
) -> Dataset:
    before = recorded(run) if run is not None else None
    try:
        return open_data(
            recipe.data,
            seed=recipe.train.seed,
            recorded=before.digests if before is not None else source_sides(recipe.train.start_from),
            settled=before.names if before is not None else None,
            shared=fabric.world_size > 1,
            # One process that trains while the others wait must not wait for them.
            once=machine.first_alone if fabric.world_size > 1 else here,
            enlarged=None if module is not None else lambda side: pretrained.side(recipe, side),
            track=track,
        )
    except UserError:
        if fabric.is_global_zero:
            raise
        # The first process reports the same mistake; an earlier exit here would end it before it does.
        parent, patience = os.getppid(), time.monotonic() + 10
        while os.getppid() == parent and time.monotonic() < patience:
            time.sleep(0.1)
        raise SystemExit(2) from None


def _initial(
    recipe: Recipe, dataset: Dataset, module: nn.Module | None, run: RunDirectory | None
) -> Initial | None:
    """The source's net, for this data set; None if the recipe names no source."""
    torch.manual_seed(recipe.train.seed)
    if module is not None:
        return source.initial(recipe, dataset, module)
    if recipe.train.start_from is None:
        return None
    if run is not None and run.weights.exists():
        # The run has everything that it needs of the source, which may be deleted by now.
        again = source.initial(recipe.changed({"train.start_from": str(run.path)}), dataset)
        return replace(again, findings=())
    return source.initial(recipe, dataset)


@torch.no_grad()  # not inference_mode: what is moved in it could never be trained
def _knows(model: nn.Module, recipe: Recipe, dataset: Dataset, fabric: Fabric) -> bool:
    """Whether a net tells the training images apart better than chance would, by three standard errors.

    A module doesn't say whether it was trained. With numeric targets it counts as untrained.
    """
    if dataset.encoding is not None:
        return False
    train = dataset.train
    rows = torch.linspace(0, len(train) - 1, min(KNOWN, len(train))).long()
    some = replace(train, rows=train.rows[rows], targets=train.targets[rows])
    order = recipe.train.channels_last
    feed = Batches(some, dataset.normalizer, batch_size=64, device=fabric.device, channels_last=order)
    model.to(fabric.device)
    with evaluating(model):
        right = sum(int((model(b.images).argmax(1) == b.targets).sum()) for b in feed.epoch(0))
    chance = float(some.targets.bincount().max()) / len(rows)
    error = math.sqrt(chance * (1 - chance) / len(rows))
    return right / len(rows) > chance + 3 * error


def _order(recipe: Recipe, dataset: Dataset, model: nn.Module) -> list[Choice]:
    """Choose torch's default memory format for a net that can't read channels_last."""
    shape = (dataset.channels, dataset.size, dataset.size)
    if not recipe.train.channels_last or takes_channels_last(model, shape):
        return []
    return [
        Choice(
            "train.channels_last",
            False,
            "the net flattens its maps by a view, which needs torch's usual order",
        )
    ]


def _normalizer(initial: Initial | None) -> Normalizer:
    if initial is None or initial.normalizer is None:
        raise UserError(
            "data.normalize.mean=source needs a source that says how its images were normalized: a run, or "
            "one of timm's nets, as `start_from`; leave it out to normalize by the training images"
        )
    return initial.normalizer


def _known(
    recipe: Recipe, dataset: Dataset, initial: Initial | None, fabric: Fabric
) -> tuple[Source | None, Tensor | None]:
    """Facts about the source net on which the choices depend, and the features if all were looked at."""
    if initial is None:
        return None, None
    found = Source(
        new_head=initial.new_head,
        normalized=initial.normalizer is not None,
        linear=features.possible(initial.model),
    )
    tuning = recipe.train.finetune
    chosen = tuning is not None or "finetune" in recipe.train.model_fields_set
    if tuning is not None:
        wanted = catalog.split("finetuning", tuning)[0] == "head"
    else:
        wanted = initial.new_head and not chosen
    if not wanted or dataset.encoding is not None:
        return found, None
    train = dataset.train
    rows = torch.linspace(0, len(train) - 1, min(LENGTHS, len(train))).long()
    if not chosen:
        rows = torch.from_numpy(sampled(train.targets.numpy(), seed=recipe.train.seed))
    if not len(rows):  # of one image a class nothing can be said
        return found, None
    some = replace(train, rows=train.rows[rows], targets=train.targets[rows])
    feed = Batches(
        some,
        initial.normalizer or dataset.normalizer,
        batch_size=64,
        device=fabric.device,
        channels_last=recipe.train.channels_last,
    )
    net = folded(initial.model.to(fabric.device), (dataset.channels, dataset.size, dataset.size))
    last, before = features.probes(net, feed)
    if features.possible(initial.model):
        found = replace(found, length=float(last.square().sum(1).mean()))
    everything = last if found.linear and len(rows) == len(train) else None
    if chosen:
        return found, everything
    measured = similarity(last.numpy(), before.numpy(), some.targets.numpy())
    return replace(found, similarity=measured), everything
