"""Labels that are probably wrong, by classifiers that were trained without the image in question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convsmith.advice.similarity import probed
from convsmith.data.layout import Item
from convsmith.errors import shown
from convsmith.findings import Finding

# The probe is believed only if it is right, or suspects the label, on EXPLAINED of the images, is right on
# RIGHT of them, and suspects CONFIDENT of its own errors. A weak probe errs without confidence.
EXPLAINED, RIGHT, CONFIDENT = 0.85, 0.5, 0.4
# Share of suspected labels from which on there is a finding.
WORTH = 0.05


def suspects(posteriors: Any, labels: Any) -> Any:
    """Mask (N,) of labels that are probably wrong.

    A label is suspected if another class is as probable as that class usually is for its own images, and the
    given class is less so (Northcutt, Jiang & Chuang 2021, confident learning, equation 2).

    Args:
        posteriors: (N, K), each row from a classifier that wasn't trained on the image.
        labels: (N,).
    """
    classes = np.arange(posteriors.shape[1])
    usual = np.array([posteriors[labels == k, k].mean() if (labels == k).any() else np.inf for k in classes])
    confident = np.where(posteriors >= usual, posteriors, -1.0)
    best = confident.argmax(1)
    return (confident.max(1) > 0) & (best != labels)


def findings(features: Any, labels: Any, items: Sequence[Item], seed: int = 0) -> list[Finding]:
    """Finding about doubtful labels by a cross-validated probe; none if the probe is too weak to tell.

    Args:
        features: of the images, (N, D).
        labels: (N,).
        items: the images' files.
        seed: of the folds.
    """
    posteriors = probed(features, labels, seed)
    if posteriors is None:
        return []
    doubted = suspects(posteriors, labels)
    right, share = float((posteriors.argmax(1) == labels).mean()), float(doubted.mean())
    if right < RIGHT or right + share < EXPLAINED or share < max(WORTH, CONFIDENT * (1 - right)):
        return []
    order = np.flatnonzero(doubted)
    given = posteriors[order, labels[order]]
    worst = [shown(items[int(row)].path) for row in order[np.argsort(given)][:3]]
    return [
        Finding(
            seen=f"about {100 * share:.0f}% of the labels are doubtful, of {len(labels):,} looked at, most "
            f"{', '.join(worst)}",
            means=f"a linear classifier that never saw these images is right on {100 * right:.0f}%, and "
            f"sure of another class for these",
            change="look at them; until then smooth the labels (`objective.cross_entropy.smoothing=0.1`)",
            why="wrong labels are learned by heart in the end",
            source="Northcutt, Jiang & Chuang 2021",
            name="label_noise",
        )
    ]
