"""What a recipe leaves open, filled in from the data, each choice with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from convsmith import catalog
from convsmith.advice import strategy
from convsmith.advice.pretrained import NET, SMALL
from convsmith.advice.strategy import Source
from convsmith.data.dataset import Dataset
from convsmith.objectives.objective import targets_of
from convsmith.recipe import Recipe

# Updates that are enough, and the fewest and most epochs for them: from scratch, and of trained weights.
SCRATCH, TUNING = (4000, 30, 100), (600, 5, 30)
# Largest over smallest class, from which on classes are evened out; benchmarks/imbalance.py has 100.
UNEVEN = 10.0


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
        strategy.choose(recipe, dataset, source, reasons)
    recipe.optimizer = _optimizer(recipe, dataset, source, reasons)
    if "epochs" not in recipe.train.model_fields_set:
        recipe.train.epochs, reasons["train.epochs"] = _epochs(recipe, dataset)
    if "objective" not in recipe.model_fields_set:
        _uneven(recipe, dataset, reasons)
    _usual(recipe, reasons)
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
        return "resnet20", (
            f"images of {dataset.size} pixels: a small ResNet without early subsampling, He's initialization"
        )
    return NET, f"images of {dataset.size} pixels: a ResNet that subsamples early"


def _epochs(recipe: Recipe, dataset: Dataset) -> tuple[int, str]:
    """So many that the net gets enough updates, within what a machine may be asked for."""
    if _tuned(recipe) == "head":
        return 40, "an epoch costs milliseconds: the features are computed once"
    images, batch = len(dataset.train), recipe.data.batch_size or 1
    each = -(-images // batch)
    wanted, least, most = TUNING if recipe.train.start_from is not None else SCRATCH
    epochs = min(most, max(least, -(-wanted // each)))
    return (
        epochs,
        f"{epochs * each:,} updates of {batch} images: about {wanted:,}, in {least} to {most} epochs",
    )


def _uneven(recipe: Recipe, dataset: Dataset, reasons: dict[str, str]) -> None:
    """Classes of very different size are evened by the loss."""
    counts = dataset.class_counts()
    if counts is None or "sampler" in recipe.data.model_fields_set:
        return
    ratio = float(counts.max() / counts.min().clamp_min(1))
    if ratio < UNEVEN:
        return
    rest = {name: given for name, given in recipe.objective.items() if name != "cross_entropy"}
    recipe.objective = {"logit_adjustment": {}, **rest}
    reasons["objective"] = (
        f"the largest class has {ratio:.0f} times the images of the smallest: every class is to count alike, "
        f"as in balanced accuracy; cross_entropy in its place counts every image alike"
    )


def _usual(recipe: Recipe, reasons: dict[str, str]) -> None:
    """Why what was left at its default is what it is."""
    for section, key, reason in (
        (recipe, "objective", "cross-entropy asks for posteriors; a little decay of the weights"),
        (recipe, "schedule", "falls slowly to nothing, after an epoch of warm-up"),
        (recipe.data, "sampler", "every image once an epoch, in a new order"),
        (recipe.data, "normalize", "mean and deviation of the training images, which every input gets"),
    ):
        if key not in section.model_fields_set:
            reasons.setdefault(f"data.{key}" if section is recipe.data else key, reason)


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


def _rate_of_head(source: Source | None) -> tuple[float, str]:
    if source is None or source.length is None:
        return 0.01, "the classifier alone"
    # Boehning 1992: the softmax's Hessian is at most half the features' second moments, whose largest
    # eigenvalue is at most their trace.
    return float(f"{2 / source.length:.2g}"), (
        f"the classifier alone, on features of a mean squared length of {source.length:.3g}: the loss's "
        f"curvature is at most half of that, and the rate one over it"
    )


def _optimizer(
    recipe: Recipe, dataset: Dataset, source: Source | None, reasons: dict[str, str]
) -> dict[str, dict[str, float]]:
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
            arguments["lr"], why = _rate_of_head(source)
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
