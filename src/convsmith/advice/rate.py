"""The optimizer and its rate, by what is trained: a classifier, a trained net, or one from scratch."""

from __future__ import annotations

import torch
from torch import nn

from convsmith import catalog
from convsmith.advice.strategy import Source
from convsmith.data.dataset import Dataset
from convsmith.errors import UserError
from convsmith.nn.depth import is_shallow, normalizes
from convsmith.recipe import Recipe, Section

# Rates for weights that are trained already. Of sgd with momentum: the middle of the grid that Kornblith et
# al. 2019 (appendix A.5) search. Of methods whose step doesn't grow with the gradient: the study notes'.
TRAINED = {"sgd": 0.01, "adam": 1e-4, "adamw": 1e-4, "rmsprop": 1e-4, "adagrad": 1e-3, "adadelta": 0.1}
WHY_TRAINED = {
    "sgd": "the weights are trained already: small steps (Kornblith et al. 2019)",
    "adagrad": "the weights are trained already: a tenth of the usual rate",
    "adadelta": "the weights are trained already: a tenth of the usual step",
}
# Of Adam, for many layers without normalization: at its authors' 0.001 VGG-16 and GoogLeNet learn nothing.
DEEP = 3e-4
# Of sgd below a solved classifier, where no batch statistics bound the steps; see docs/training.md.
FROZEN = 0.003
WHY_FROZEN = "trained weights below a solved classifier, without batch statistics that would bound the steps"
NOTES = "the weights are trained already: at most 0.0001 (study notes, chapter 10)"


def choose(name: str, recipe: Recipe, dataset: Dataset, source: Source | None) -> tuple[float, str] | None:
    """The rate for optimizer ``name`` and why; None where the optimizer's own default holds."""
    if tuned(recipe) == "head":
        return _of_head(source) if name == "sgd" else None
    if is_trained(recipe, source):
        if name == "sgd" and recipe.train.frozen_statistics:
            return FROZEN, WHY_FROZEN
        return (TRAINED[name], WHY_TRAINED.get(name, NOTES)) if name in TRAINED else None
    if name == "adam" and optimizer(recipe, dataset, source)[0] == "adam":
        return DEEP, "many layers without normalization: a third of the authors' 0.001"
    return _from_scratch(recipe, dataset) if name == "sgd" else None


def optimizer(recipe: Recipe, dataset: Dataset, source: Source | None) -> tuple[str, str]:
    """The name of the optimizer where the recipe leaves it open, and why; no reason for sgd.

    Many layers without normalization have gradients of very different sizes, from layer to layer and from
    one batch to the next; Adam's steps don't follow them (Kingma & Ba 2015).
    """
    if tuned(recipe) is not None or is_trained(recipe, source) or recipe.model is None:
        return "sgd", ""
    net = _built(recipe.model, dataset)
    if net is None or normalizes(net) or is_shallow(net):
        return "sgd", ""
    return (
        "adam",
        "many layers without normalization: steps that don't grow with the gradient (Kingma & Ba 2015)",
    )


def is_trained(recipe: Recipe, source: Source | None) -> bool:
    """Whether the training starts from weights that know something already."""
    return recipe.train.start_from is not None if source is None else source.trained


def tuned(recipe: Recipe) -> str | None:
    """Name of the fine-tuning; None if there is none."""
    section = recipe.train.finetune
    return None if section is None else catalog.split("finetuning", section)[0]


def of_features(length: float) -> float:
    """The rate of sgd on features of a mean squared length.

    Boehning 1992: the softmax's Hessian is at most half the features' second moments, whose largest
    eigenvalue is at most their trace. The rate is one over that bound.

    >>> of_features(4.0), of_features(0.0)
    (0.5, 2000.0)
    """
    # Features that are all zero, of a net that is dead, learn at no rate.
    return float(f"{2 / max(length, 1e-3):.2g}")


def _of_head(source: Source | None) -> tuple[float, str]:
    """The rate where only the classifier is trained, and why."""
    if source is None or source.length is None:
        return 0.01, "the classifier alone"
    return of_features(source.length), (
        f"the classifier alone, on features of a mean squared length of {source.length:.3g}: the loss's "
        f"curvature is at most half of that, and the rate one over it"
    )


def _from_scratch(recipe: Recipe, dataset: Dataset) -> tuple[float, str]:
    """The rate of sgd for random weights, and why."""
    if dataset.kind == "numbers":
        # Unlike cross-entropy's, the gradient of these losses grows with the error.
        return 0.01, "errors of numbers have no bound: a tenth of the rate for classes"
    batch = recipe.data.batch_size or 128
    net = _built(recipe.model, dataset) if recipe.model is not None else None
    if net is not None and not normalizes(net):
        # Krizhevsky et al. 2012 and Simonyan & Zisserman 2015 took 0.01 for 128 and for 256 images. It grows
        # no further with larger batches: nothing but the rate keeps such a net's maps small.
        share, told = min(1.0, batch / 128), f" for 128 images, scaled to {batch}" if batch < 128 else ""
        if is_shallow(net):
            return (
                float(f"{0.03 * share:.2g}"),
                f"a few layers without normalization: 0.03, between AlexNet's 0.01 and He et al.'s 0.1{told}",
            )
        return (
            float(f"{0.01 * share:.2g}"),
            f"no normalization in the net: the 0.01 of AlexNet's and VGG's authors{told}; 0.1 diverges",
        )
    # Goyal et al. 2017: the rate grows with the batch; He et al. 2016 took 0.1 for 128.
    return 0.1 * batch / 128, f"He et al.'s 0.1 for 128 images, scaled to {batch}"


def _built(model: Section, dataset: Dataset) -> nn.Module | None:
    """The net; None where the recipe's can't be built, which is said where it is used."""

    def build() -> nn.Module:
        given = {"num_classes": len(dataset.classes), "in_channels": dataset.channels, "size": dataset.size}
        net: nn.Module = catalog.build("model", model, **given)
        return net

    try:
        try:
            with torch.device("meta"):  # takes no memory for the weights
                return build()
        except (RuntimeError, NotImplementedError):  # a net that computes with its weights
            with torch.random.fork_rng(devices=[]):
                return build()
    except UserError:
        return None
