"""Rules that fill the gaps of a recipe from the data, each choice with its reason.

Every rule is a function (recipe, dataset, source) -> choices, and sees the choices of the rules before it.
None changes what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from convsmith import catalog
from convsmith.advice import mirror, rate, strategy
from convsmith.advice.choice import Choice, applied, changed
from convsmith.advice.pretrained import LEAST, NET, SMALL, SUBSAMPLES
from convsmith.advice.strategy import Source
from convsmith.data.dataset import Dataset
from convsmith.data.targets import measure_of
from convsmith.objectives.objective import targets_of
from convsmith.recipe import Plan, Recipe
from convsmith.recipe.checking import marks, value_at

Rule = Callable[[Recipe, Dataset, Source | None], list[Choice]]
# Updates that are enough, and the fewest and most epochs for them: from scratch, and when fine-tuning.
SCRATCH, TUNING = (4000, 30, 100), (600, 5, 30)
# Epochs of a classifier alone, and the terms for which its closed form is all that is needed.
HEAD_EPOCHS = 40
SOLVED = {"cross_entropy", "logit_adjustment", "weighted_cross_entropy", "l2"}
# Terms under which every class counts alike.
EVEN = {"logit_adjustment", "weighted_cross_entropy"}
# Least and largest share of an image's area that a crop shows; the largest ImageNet nets take 0.08 at least,
# in trainings of hundreds of epochs.
AREA = (0.35, 1.0)
# Images of the largest class over those of the smallest, from which on the loss evens the classes out;
# the long tail of benchmarks/imbalance.py has 100.
UNEVEN = 10.0


def fill(recipe: Recipe, dataset: Dataset, source: Source | None = None) -> list[Choice]:
    """Choices for everything that ``recipe`` leaves open, in the order in which they are to be applied.

    All but ``train.precision``, which belongs to the machine: :func:`arithmetic`.

    Args:
        recipe: stays as it is.
        dataset: stays as it is.
        source: the net that the training starts from, if any.
    """
    found: list[Choice] = []
    for rule in RULES:
        new = rule(recipe, dataset, source)
        recipe = changed(recipe, new)
        found += new
    return found


def planned(
    recipe: Recipe, dataset: Dataset, source: Source | None = None, *, accelerator: str = "cpu"
) -> tuple[Plan, dict[str, str]]:
    """The recipe without gaps, for a machine's ``accelerator``, and the reasons by dotted key."""
    return applied(recipe, [*arithmetic(recipe, accelerator), *fill(recipe, dataset, source)])


def arithmetic(recipe: Recipe, accelerator: str) -> list[Choice]:
    """The precision for ``"cpu"`` or ``"cuda"``, where the recipe leaves it open."""
    if recipe.train.precision is not None:
        return []
    return [Choice("train.precision", *precision(accelerator))]


def precision(accelerator: str) -> tuple[Literal["32-true", "16-mixed", "bf16-mixed"], str]:
    """The arithmetic for ``"cpu"`` or ``"cuda"``, and why."""
    if accelerator == "cpu":
        return "32-true", "a CPU seldom gains from 16 bits"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed", "this GPU multiplies bfloat16 faster, with float32's range"
    return "16-mixed", "this GPU multiplies float16 faster; the loss is scaled to stay in its range"


def _places(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Absolute paths, so that a resumed run finds its files from any folder."""
    found = []
    for keys, mark in marks(type(recipe)).items():
        value = value_at(recipe, keys)
        settled = catalog.settled(mark, value)
        if settled != value:
            found.append(Choice(".".join(keys), settled))
    return found


def _sizes(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Sides of the images in pixels, as the net reads them and as they are stored, and how they get there."""
    why = dataset.reasons.get("data.size", "")
    stored = dataset.stored if dataset.stored != dataset.size else None
    group = Choice("data.group", dataset.group, dataset.reasons.get("data.group", ""))
    fit, levels = dataset.reasons.get("data.fit", ""), dataset.reasons.get("data.levels", "")
    return [
        Choice("data.size", dataset.size, why),
        Choice("data.stored", stored),
        Choice("data.fit", dataset.fit, fit),
        *([Choice("data.levels", dataset.levels, levels)] if dataset.levels is not None else []),
        group,
    ]


def _batch_size(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Images of a batch: 128, or fewer where there would be less than 50 batches an epoch."""
    if recipe.data.batch_size is not None:
        return []
    train = dataset.split("train")
    images = len(train) if train is not None else 0
    size = next((size for size in (128, 64) if images >= 50 * size), 32)
    why = (
        "the usual size"
        if size == 128
        else f"{images} training images: smaller batches give more updates an epoch"
    )
    return [Choice("data.batch_size", size, why)]


def _model(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """The net, by the size of the images."""
    if recipe.model is not None:
        return []
    images = f"images of {dataset.size} pixels"
    if dataset.size <= SMALL:
        why = f"{images}: a small ResNet without early subsampling, He's initialization"
        return [Choice("model", "resnet20", why)]
    return [Choice("model", NET, f"{images}: {SUBSAMPLES}")]


def _augment(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Flips and shifts, where they leave an image's target as it is."""
    if recipe.data.augment is not None:
        return []
    if dataset.encoding is not None and dataset.encoding.numeric:
        why = "the targets are numbers: a mirrored or shifted image may have others"
        return [Choice("data.augment", {}, why)]
    if dataset.size < LEAST:
        crop: dict[str, Any] = {"crop": {"pad": max(1, round(dataset.stored / 8))}}
        cut = "small images keep their class when shifted"
    else:
        crop, cut = {"area_crop": {"scale": list(AREA)}}, "objects come in all sizes and places"
    flip, why = _flip(dataset)
    return [Choice("data.augment", {**flip, **crop}, f"{why}; {cut}")]


def _flip(dataset: Dataset) -> tuple[dict[str, Any], str]:
    """The flip, if a probe has nothing against it; where the probe is too weak, if the images have colors."""
    found = mirror.probe(dataset.train, len(dataset.classes)) if dataset.encoding is None else None
    if found is None or not found.knows:
        if dataset.channels == 1:
            return {}, "no flip: grey images are often characters, which a mirror turns into others"
        return {"flip": {}}, (
            "photographs keep their class when mirrored (a linear probe of the pixels is too weak to tell "
            "here; `data.augment.flip=null` where left and right differ, as in characters and signs)"
        )
    share = (
        f"a linear probe of the pixels has {100 * found.own / found.images:.0f}% of {found.images:,} images "
        f"right, and {100 * found.mirrored / found.images:.0f}% when they are mirrored"
    )
    if found.loses:
        return {}, f"no flip: {share}: left and right differ"
    return {"flip": {}}, f"{share}: no loss"


def _optimizer(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """The recipe's optimizer, one that fits the net if it names none, and its rate if that is open."""
    usual, why = ("", "") if recipe.optimizer else rate.optimizer(recipe, dataset, source)
    name, arguments = catalog.split("optimizer", recipe.optimizer or usual)
    found = [Choice("optimizer", {name: arguments}, why)]
    if name == "lbfgs" and recipe.train.channels_last:
        order = "torch's L-BFGS takes gradients in the usual order only"
        found.append(Choice("train.channels_last", False, order))
    if "lr" not in arguments:
        chosen = rate.choose(name, recipe, dataset, source)
        if chosen is not None:
            found.append(Choice(f"optimizer.{name}.lr", *chosen))
    return found


def _head(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """A new classifier is solved before anything is trained."""
    given = "head_first" in recipe.train.model_fields_set
    solvable = source is not None and source.new_head and source.linear
    if given or not solvable or rate.tuned(recipe) is None:
        return []
    why = (
        "the new classifier is solved first, on features that are computed once; a random one would spoil "
        "the trained layers below it (Kumar et al. 2022)"
    )
    return [Choice("train.head_first", True, why)]


def _statistics(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Statistics of batch normalizations stay the source's where a solved classifier depends on them."""
    if recipe.train.frozen_statistics is not None or not recipe.train.head_first:
        return []
    if rate.tuned(recipe) in (None, "head"):
        return []
    why = "the classifier is solved on features by the statistics that the net was trained with"
    return [Choice("train.frozen_statistics", True, why)]


def _epochs(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Number of epochs: about 4,000 updates from scratch, 600 when fine-tuning, within limits."""
    if "epochs" in recipe.train.model_fields_set:
        return []
    if rate.tuned(recipe) == "head":
        if recipe.train.head_first and set(recipe.objective) <= SOLVED:
            why = "none: the classifier alone is solved, not trained"
            return [Choice("train.epochs", 0, why)]
        why = "an epoch costs milliseconds: the features are computed once"
        return [Choice("train.epochs", HEAD_EPOCHS, why)]
    images, batch = len(dataset.train), recipe.data.batch_size or 1
    each = -(-images // batch)
    wanted, least, most = TUNING if rate.is_trained(recipe, source) else SCRATCH
    epochs = min(most, max(least, -(-wanted // each)))
    why = f"{epochs * each:,} updates of {batch} images: about {wanted:,}, in {least} to {most} epochs"
    return [Choice("train.epochs", epochs, why)]


def _uneven(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """A loss that evens out classes of very different size, if neither loss nor sampler was chosen."""
    counts = dataset.class_counts()
    given = "objective" in recipe.model_fields_set or "sampler" in recipe.data.model_fields_set
    if counts is None or given:
        return []
    ratio = float(counts.max() / counts.min().clamp_min(1))
    if ratio < UNEVEN:
        return []
    rest = {name: arguments for name, arguments in recipe.objective.items() if name != "cross_entropy"}
    why = (
        f"the largest class has {ratio:.0f} times the images of the smallest: every class is to count alike, "
        f"as in balanced accuracy; cross_entropy in its place counts every image alike"
    )
    return [Choice("objective", {"logit_adjustment": {}, **rest}, why)]


def _defaults(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Reasons for options left at their defaults."""
    data = recipe.data
    found = []
    for section, key, why in (
        (recipe, "objective", "cross-entropy asks for posteriors; a little decay of the weights"),
        (recipe, "schedule", "falls slowly to nothing, after an epoch of warm-up"),
        (data, "sampler", "every image once an epoch, in a new order"),
        (data, "normalize", "mean and deviation of the training images, which every input gets"),
    ):
        if key not in section.model_fields_set:
            dotted = f"data.{key}" if section is data else key
            found.append(Choice(dotted, section.model_dump(include={key})[key], why))
    return found


def _targets(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """The encoding of numeric targets, and the usual term for them in the place of cross-entropy."""
    if dataset.encoding is None:
        return []
    why = dataset.reasons.get("data.target", "")
    found = [Choice("data.target", catalog.describe(dataset.encoding), why)]
    if recipe.objective.get("cross_entropy", 1) not in ({}, None):
        return found
    rest = {name: arguments for name, arguments in recipe.objective.items() if name != "cross_entropy"}
    if any(dataset.kind in targets_of(name) for name in rest if name in catalog.names("term")):
        return [*found, Choice("objective", rest)]
    usual = {"numbers": "squared_error", "distribution": "kl_divergence"}[dataset.kind]
    return [
        *found,
        Choice("objective", {usual: {}, **rest}),
        Choice(f"objective.{usual}", {}, "the targets are not classes"),
    ]


def _choose_by(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """The figure by which the kept epoch is chosen, where the recipe is for another than the usual one."""
    if recipe.train.choose_by is not None:
        return []
    usual = measure_of(dataset.encoding).name
    if usual == "mae" and len(dataset.columns) > 1:
        why = "the targets may have different units: each counts in its own deviation"
        return [Choice("train.choose_by", "scaled_mae", why)]
    if dataset.kind != "classes":
        return [Choice("train.choose_by", usual, "the kept epoch is the one that is best in it")]
    if dataset.costs is not None or dataset.cost_classes:
        return [Choice("train.choose_by", "expected_cost", "mistakes have costs: the kept epoch costs least")]
    if counts_alike(recipe):
        why = "every class is to count alike, for the kept epoch too"
        return [Choice("train.choose_by", "balanced_accuracy", why)]
    return [Choice("train.choose_by", usual, "the kept epoch is the one that is best in it")]


def counts_alike(recipe: Recipe) -> bool:
    """Whether a recipe asks for classes that count alike, by its objective or its sampler."""
    return bool(EVEN & set(recipe.objective)) or recipe.data.sampler not in ("shuffle", {"shuffle": {}})


RULES: tuple[Rule, ...] = (
    _places,
    _sizes,
    _batch_size,
    _model,
    _augment,
    strategy.choose,
    _head,
    _statistics,
    _optimizer,
    _uneven,
    _epochs,
    _defaults,
    _targets,
    _choose_by,
)
