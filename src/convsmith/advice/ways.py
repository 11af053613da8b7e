"""The ways to train a net for given images: what each is expected to reach, and in how many minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convsmith.advice.similarity import Similarity

# Share of the errors of the classifier alone that tuning the layers below it takes away, by whether the
# images are similar to the source's: medians of benchmarks/finetune.py, see docs/training.md.
GAIN = {True: 0.11, False: 0.46}
# Standard errors of a 95% interval.
Z = 1.96


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


def interval(share: float, images: int) -> tuple[float, float]:
    """95% interval of a share that was measured on ``images`` (Wilson 1927).

    >>> [round(end, 3) for end in interval(0.9, 100)]
    [0.826, 0.945]
    """
    n, z = images, Z
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def gain(found: Similarity) -> float:
    """Accuracy that tuning is expected to add to the classifier alone, as a share of all images."""
    return GAIN[found.similar] * (1 - found.last)


def is_worth(found: Similarity, images: int) -> bool:
    """Whether ``images`` of validation can tell the expected gain from noise."""
    low, high = interval(found.last, images)
    return gain(found) > (high - low) / 2
