"""The ways to train a net for given images: what each is expected to reach, and in how many minutes."""

from __future__ import annotations

from dataclasses import dataclass

from convsmith.advice.similarity import Similarity
from convsmith.inference.intervals import of_share

# Share of the errors of the classifier alone that tuning the layers below it takes away, by whether the
# images are similar to the source's: medians of benchmarks/finetune.py, see docs/training.md.
GAIN = {True: 0.11, False: 0.46}


@dataclass(frozen=True)
class Way:
    """One way to train, with its expected accuracy on the validation images.

    Args:
        name: ``head``, ``head, then last_stages``, ...
        accuracy: in [0, 1]; None if nothing is known of it.
        interval: 95%, of an accuracy measured on as many images as the validation split has.
        minutes: on this machine; None if not measured.
        how: where the accuracy comes from.
        chosen: whether the recipe goes this way.
    """

    name: str
    accuracy: float | None
    interval: tuple[float, float] | None
    minutes: float | None
    how: str
    chosen: bool = False


def gain(found: Similarity) -> float:
    """Accuracy that tuning is expected to add to the classifier alone, as a share of all images."""
    return GAIN[found.similar] * (1 - found.last)


def is_worth(found: Similarity, images: int) -> bool:
    """Whether ``images`` of validation can tell the expected gain from noise."""
    low, high = of_share(found.last, images)
    return gain(found) > (high - low) / 2
