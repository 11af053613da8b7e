"""Labels that are probably wrong: what a classifier that never saw an image says with confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convsmith.advice.similarity import probed
from convsmith.data.layout import Item
from convsmith.errors import shown
from convsmith.findings import Finding

# What the probe must explain before it is believed: right or suspected on so many images, right on half of
# them at least, and so many of its errors suspected. A probe that knows little errs without confidence.
EXPLAINED, RIGHT, CONFIDENT = 0.85, 0.5, 0.4
# Share of suspects from which on it is worth a word.
WORTH = 0.05


def suspects(posteriors: Any, labels: Any) -> Any:
    """Which labels are probably wrong (N,): another class is as probable as it usually is for its own images,
    and the given one isn't (Northcutt, Jiang & Chuang 2021, confident learning, equation 2).

    Args:
        posteriors: (N, K), each from a classifier that wasn't trained on the image.
        labels: (N,).
    """
    classes = np.arange(posteriors.shape[1])
    usual = np.array([posteriors[labels == k, k].mean() if (labels == k).any() else np.inf for k in classes])
    confident = np.where(posteriors >= usual, posteriors, -1.0)
    best = confident.argmax(1)
    return (confident.max(1) > 0) & (best != labels)


def findings(features: Any, labels: Any, items: Sequence[Item], seed: int = 0) -> list[Finding]:
    """What a cross-validated probe says of the labels; nothing where it knows too little to tell.

    Args:
        features: (N, D) of the images.
        labels: (N,).
        items: the images.
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
            change="look at them; until then smooth the labels (--set objective.cross_entropy.smoothing=0.1)",
            why="wrong labels are learned by heart in the end",
            source="Northcutt, Jiang & Chuang 2021",
            name="label_noise",
        )
    ]
