"""How to tune a trained net: the notes' four strategies, by how many images there are and how similar."""

from __future__ import annotations

from dataclasses import dataclass

from convsmith.advice.similarity import Similarity
from convsmith.data.dataset import Dataset
from convsmith.recipe import Recipe, Section

# Lines between few and enough images a class, and between unlike and similar: where the best strategy
# changed in benchmarks/finetune.py.
FEW, SIMILAR = 100, 0.4
# By (few, similar): the notes' four strategies.
STRATEGIES: dict[tuple[bool, bool], Section] = {
    (True, True): {"head": {"views": 4}},
    (False, True): {"last_stages": {"stages": 2}},
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


def choose(recipe: Recipe, dataset: Dataset, source: Source, reasons: dict[str, str]) -> None:
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
