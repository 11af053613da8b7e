"""The fine-tuning of a trained net: four strategies, by the number of images and their similarity."""

from __future__ import annotations

from dataclasses import dataclass

from convsmith.advice import ways
from convsmith.advice.choice import Choice
from convsmith.advice.similarity import Similarity
from convsmith.data.dataset import Dataset
from convsmith.inference.intervals import of_share
from convsmith.recipe import Recipe, Section

# Images a class from which on there are enough: where the best strategy changed in benchmarks/finetune.py.
FEW = 100
# The study notes' four strategies by (few, similar). For few and unlike images they name joint fine-tuning,
# which needs the source's images; without those, all stages were best in benchmarks/finetune.py.
STRATEGIES: dict[tuple[bool, bool], Section] = {
    (True, True): "head",
    (False, True): {"last_stages": {"stages": 2}},
    (False, False): {"all_stages": {"decay": 0.7}},
    (True, False): {"all_stages": {"decay": 0.7}},
}


@dataclass(frozen=True)
class Source:
    """Facts about the net that a training starts from.

    Args:
        new_head: whether its classifier is new, and all else trained.
        trained: whether its weights are trained, so that small steps and few epochs will do.
        normalized: whether the normalization of its images is known.
        similarity: of the new images to the source's; None if it was not measured.
        length: mean squared length of the features that its classifier reads; None if not measured.
        linear: whether its classifier is linear on features that can be computed once.
    """

    new_head: bool = False
    trained: bool = True
    normalized: bool = False
    similarity: Similarity | None = None
    length: float | None = None
    linear: bool = False


def choose(recipe: Recipe, dataset: Dataset, source: Source | None) -> list[Choice]:
    """Normalization and fine-tuning of a trained net, where the recipe leaves them open.

    The fine-tuning follows from how many images there are and how similar they are to the source's.
    """
    found: list[Choice] = []
    if source is None:
        return found
    if source.normalized and "normalize" not in recipe.data.model_fields_set:
        why = "the weights were trained on images normalized so"
        found.append(Choice("data.normalize", {"mean": "source"}, why))
    counts = dataset.class_counts()
    chosen = "finetune" in recipe.train.model_fields_set
    val = dataset.split("val")
    if source.new_head and not chosen and counts is not None:
        each, images = float(counts.float().median()), len(val) if val is not None else 0
        similarity = source.similarity
        found.append(_unmeasured() if similarity is None else _finetuning(each, similarity, images))
    elif source.new_head and not chosen:
        why = "every layer learns, the general ones before the last more slowly: numbers are no classes"
        found.append(Choice("train.finetune", STRATEGIES[False, False], why))
    return found


def _unmeasured() -> Choice:
    return Choice(
        "train.finetune",
        STRATEGIES[True, True],
        "no two classes have two images each, so that no probe can say how similar the images are to the "
        "source's: the classifier alone, which so few images can't spoil",
    )


def _finetuning(each: float, found: Similarity, images: int) -> Choice:
    """The strategy for ``each`` images a class, as similar to the source's as ``found`` says.

    Tuning is left out where the ``images`` of validation couldn't tell what it is expected to add.
    """
    few, similar = each < FEW, found.similar
    if not ways.is_worth(found, images):
        low, high = of_share(found.last, images)
        return Choice(
            "train.finetune",
            "head",
            f"the classifier alone has about {100 * found.last:.0f}% right; tuning the layers below it is "
            f"expected to add {100 * ways.gain(found):.1f} points, within the noise of {images:,} validation "
            f"images (95%: {100 * (high - low) / 2:.1f} points either way)",
        )
    return Choice(
        "train.finetune",
        STRATEGIES[few, similar],
        f"{each:g} images a class ({'few' if few else 'enough'}: the line is {FEW}); a linear probe gets "
        f"{100 * found.last:.0f}% right on the source's last features, {100 * found.before:.0f}% on those of "
        f"the stage before{_probed(found)}: {'similar' if similar else 'unlike'}, its last stage "
        f"{'helps' if similar else 'loses what these classes need'}"
        + ("; with the source's images at hand, joint learns them beside" if few and not similar else ""),
    )


def _probed(found: Similarity) -> str:
    """What was probed, where that says something."""
    return "" if found.classes is None else f" ({found.images:,} images of {found.classes:,} classes)"
