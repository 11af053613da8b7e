"""How to tune a trained net: the notes' four strategies, by how many images there are and how similar."""

from __future__ import annotations

from dataclasses import dataclass

from convsmith.advice.similarity import Similarity
from convsmith.data.dataset import Dataset
from convsmith.recipe import Recipe, Section

# The line between few and enough images a class: where the best strategy changed in benchmarks/finetune.py.
FEW = 100
# By (few, similar): the notes' four strategies. For few and unlike images they name joint fine-tuning, which
# needs the source's images; without them, all stages were best in benchmarks/finetune.py.
STRATEGIES: dict[tuple[bool, bool], Section] = {
    (True, True): "head",
    (False, True): {"last_stages": {"stages": 2}},
    (False, False): {"all_stages": {"decay": 0.7}},
    (True, False): {"all_stages": {"decay": 0.7}},
}


@dataclass(frozen=True)
class Source:
    """What is known of the net that a training starts from.

    ``new_head``: all but its classifier is trained; ``normalized``: it is known how its images were;
    ``similarity``: of the new images to the source's; ``length``: mean squared length of the features that
    its classifier reads.
    """

    new_head: bool = False
    normalized: bool = False
    similarity: Similarity | None = None
    length: float | None = None


def choose(recipe: Recipe, dataset: Dataset, source: Source, reasons: dict[str, str]) -> None:
    """How a trained net is tuned, by how many images there are and how similar they are to the source's."""
    if source.normalized and "normalize" not in recipe.data.model_fields_set:
        recipe.data.normalize.mean = "source"
        reasons["data.normalize"] = "the weights were trained on images normalized so"
    if not source.new_head or "finetune" in recipe.train.model_fields_set or source.similarity is None:
        return
    counts = dataset.class_counts()
    assert counts is not None
    each, found = float(counts.float().median()), source.similarity
    few, similar = each < FEW, found.similar
    recipe.train.finetune = STRATEGIES[few, similar]
    reasons["train.finetune"] = (
        f"{each:g} images a class ({'few' if few else 'enough'}: the line is {FEW}); a linear probe gets "
        f"{100 * found.last:.0f}% right on the source's last features, {100 * found.before:.0f}% on those of "
        f"the stage before: {'similar' if similar else 'unlike'}, its last stage "
        f"{'helps' if similar else 'loses what these classes need'}"
        + ("; with the source's images at hand, joint learns them beside" if few and not similar else "")
    )
