"""What a recipe leaves open, filled in from the data, each choice with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from convsmith import catalog
from convsmith.advice.similarity import Similarity
from convsmith.data.dataset import Dataset
from convsmith.objectives.objective import targets_of
from convsmith.recipe import Recipe, Section

# Below this side a net that halves the image five times has nothing left to look at.
SMALL = 40
# Lines between few and enough images a class, and between unlike and similar: where the best strategy
# changed in benchmarks/finetune.py.
FEW, SIMILAR = 100, 0.6
# By (few, similar): the notes' four strategies.
STRATEGIES: dict[tuple[bool, bool], Section] = {
    (True, True): {"head": {"views": 4}},
    (False, True): {"all_stages": {"decay": 0.7}},
    (False, False): {"all_stages": {"decay": 0.7}},
    (True, False): {"gradual": {"until": 0.5}},
}


@dataclass(frozen=True)
class Source:
    """What is known of the net that a training starts from.

    ``new_head``: all but its classifier is trained; ``normalized``: it is known how its images were;
    ``similarity``: of the new images to the source's.
    """

    new_head: bool = False
    normalized: bool = False
    similarity: Similarity | None = None


def fill(recipe: Recipe, dataset: Dataset, source: Source | None = None) -> tuple[Recipe, dict[str, str]]:
    """A copy of ``recipe`` without gaps, and the reasons by dotted key."""
    recipe = recipe.model_copy(deep=True)
    reasons = dict(dataset.reasons)
    recipe.data.path = _absolute(recipe.data.path)
    recipe.train.start_from = _absolute(recipe.train.start_from)
    for section in (recipe.data.costs, recipe.data.augment, recipe.objective, recipe.train.finetune):
        _settle(section)
    recipe.data.size = dataset.size
    recipe.data.stored = dataset.stored if dataset.stored != dataset.size else None
    if recipe.data.batch_size is None:
        recipe.data.batch_size, reasons["data.batch_size"] = _batch_size(dataset)
    if recipe.model is None:
        recipe.model, reasons["model"] = _model(recipe, dataset)
    if recipe.data.augment is None:
        recipe.data.augment, reasons["data.augment"] = _augment(dataset)
    if source is not None:
        _tuning(recipe, dataset, source, reasons)
    recipe.optimizer = _optimizer(recipe, dataset, reasons)
    if dataset.encoding is not None:
        recipe.data.target = catalog.describe(dataset.encoding)
        _objective(recipe, dataset, reasons)
    return recipe, reasons


def precision(accelerator: str) -> tuple[Literal["32-true", "16-mixed", "bf16-mixed"], str]:
    """The arithmetic for ``"cpu"`` or ``"cuda"``, and why."""
    if accelerator == "cpu":
        return "32-true", "a CPU seldom gains from 16 bits"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed", "this GPU multiplies bfloat16 faster, with float32's range"
    return "16-mixed", "this GPU multiplies float16 faster; the loss is scaled to stay in its range"


def _tuning(recipe: Recipe, dataset: Dataset, source: Source, reasons: dict[str, str]) -> None:
    """How a trained net is tuned, by how many images there are and how similar they are to the source's."""
    if source.normalized and "normalize" not in recipe.data.model_fields_set:
        recipe.data.normalize.mean = "source"
        reasons["data.normalize"] = "the weights were trained on images normalized so"
    if not source.new_head or "finetune" in recipe.train.model_fields_set or source.similarity is None:
        return
    counts = dataset.class_counts()
    assert counts is not None
    each = float(counts.float().median())
    few, similar = each < FEW, source.similarity.above_chance >= SIMILAR
    recipe.train.finetune = STRATEGIES[few, similar]
    reasons["train.finetune"] = (
        f"{each:g} images a class ({'few' if few else 'enough'}: the line is {FEW}); a linear probe on the "
        f"source's features gets {100 * source.similarity.accuracy:.0f}% right, guessing "
        f"{100 * source.similarity.chance:.0f}%: "
        f"{'similar' if similar else 'unlike'} (the line is {100 * SIMILAR:.0f}% of the way to all)"
    )


def _tuned(recipe: Recipe) -> str | None:
    """The name of the fine-tuning, if there is any."""
    section = recipe.train.finetune
    return None if section is None else catalog.split("finetuning", section)[0]


def _absolute(path: str | None) -> str | None:
    """A place that a resumed run finds from any folder; names of built-in things stay names."""
    place = Path(path).expanduser() if path is not None else None
    return str(place.absolute()) if place is not None and place.exists() else path


def _settle(section: Any) -> None:
    """Make the places that techniques name absolute, within the section."""
    for key, value in section.items() if isinstance(section, dict) else ():
        if key in ("file", "run", "maps", "source"):
            section[key] = _absolute(value)
        _settle(value)


def _batch_size(dataset: Dataset) -> tuple[int, str]:
    train = dataset.split("train")
    images = len(train) if train is not None else 0
    size = next((size for size in (128, 64) if images >= 50 * size), 32)
    if size == 128:
        return size, "the usual size"
    return size, f"{images} training images: smaller batches give more updates an epoch"


def _model(recipe: Recipe, dataset: Dataset) -> tuple[str, str]:
    if dataset.size <= SMALL:
        return "resnet20", f"images of {dataset.size} pixels: a small ResNet without early subsampling"
    return "timm:resnet18", f"images of {dataset.size} pixels: a ResNet that subsamples early"


def _objective(recipe: Recipe, dataset: Dataset, reasons: dict[str, str]) -> None:
    """Cross-entropy, the usual term, is for classes: numbers and distributions have usual ones too."""
    if recipe.objective.get("cross_entropy", 1) in ({}, None):
        usual = {"numbers": "squared_error", "distribution": "kl_divergence"}[dataset.kind]
        rest = {name: given for name, given in recipe.objective.items() if name != "cross_entropy"}
        if not any(dataset.kind in targets_of(name) for name in rest if name in catalog.names("term")):
            recipe.objective = {usual: {}, **rest}
            reasons[f"objective.{usual}"] = "the targets are not classes"
        else:
            recipe.objective = rest


def _augment(dataset: Dataset) -> tuple[dict[str, dict[str, int]], str]:
    if dataset.encoding is not None and dataset.encoding.numeric:
        return {}, "the targets are numbers: a mirrored or shifted image may have others"
    crop = {"crop": {"pad": max(1, round(dataset.stored / 8))}}
    if dataset.channels == 1:
        return crop, "no flip: grey images are often characters, which a mirror turns into others"
    return {"flip": {}, **crop}, "photographs keep their class when mirrored and shifted"


def _optimizer(recipe: Recipe, dataset: Dataset, reasons: dict[str, str]) -> dict[str, dict[str, float]]:
    """The recipe's optimizer, sgd if it names none; sgd's rate depends on what is trained."""
    if recipe.optimizer is None:
        recipe.optimizer = "sgd"
    name, arguments = catalog.split("optimizer", recipe.optimizer)
    if name == "lbfgs" and recipe.train.channels_last:
        recipe.train.channels_last = False
        reasons["train.channels_last"] = "torch's L-BFGS takes gradients in the usual order only"
    if name == "sgd" and "lr" not in arguments:
        assert recipe.model is not None
        model = catalog.split("model", recipe.model)[0]
        if _tuned(recipe) == "head":
            arguments["lr"], why = 0.1, "a linear classifier alone: its problem is convex"
        elif recipe.train.start_from is not None:
            arguments["lr"], why = 0.01, "the weights are trained already: small steps"
        elif model.startswith("lenet"):
            arguments["lr"], why = 0.01, "no batch normalization in the net: 0.1 would diverge"
        elif dataset.kind == "numbers":
            # Unlike cross-entropy's, the gradient of these losses grows with the error.
            arguments["lr"], why = 0.01, "errors of numbers have no bound: a tenth of the rate for classes"
        else:
            # Goyal et al. 2017: the rate grows with the batch; He et al. 2016 took 0.1 for 128.
            batch = recipe.data.batch_size or 128
            arguments["lr"], why = 0.1 * batch / 128, f"He et al.'s 0.1 for 128 images, scaled to {batch}"
        reasons["optimizer.sgd.lr"] = why
    return {name: arguments}
