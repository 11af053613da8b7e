"""How similar new images are to those that a net was trained on: what its features alone can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# Images that are looked at: enough for an accuracy to within a few percent.
PROBED = 1000


@dataclass(frozen=True)
class Similarity:
    """The accuracy of a linear classifier on a source's features, cross-validated, and that of guessing."""

    accuracy: float
    chance: float
    images: int

    @property
    def above_chance(self) -> float:
        """Share of what guessing gets wrong that the features get right: 0 at chance, 1 if all is right."""
        return max(0.0, (self.accuracy - self.chance) / max(1 - self.chance, 1e-9))


def similarity(features: Any, targets: Any, seed: int = 0) -> Similarity | None:
    """Probe features with a logistic regression (Alain & Bengio 2017), as Kornblith et al. 2019 measure
    transfer.

    Args:
        features: (N, D).
        targets: classes (N,).
        seed: of the folds.

    Returns:
        None where a class has fewer than 2 images among these.

    >>> x = np.repeat([[0.0], [1.0]], 10, 0)
    >>> similarity(x, np.repeat([0, 1], 10)).above_chance
    1.0
    """
    predicted = probed(features, targets, seed)
    if predicted is None:
        return None
    commonest = np.bincount(targets).max() / len(targets)
    return Similarity(float((predicted.argmax(1) == targets).mean()), float(commonest), len(targets))


def probed(features: Any, targets: Any, seed: int, penalty: float = 1.0) -> Any | None:
    """Posteriors (N, K) of each image from a linear classifier that wasn't trained on it (5 folds, or fewer
    where a class is small); None where a class has only one image."""
    counts = np.bincount(targets)
    folds = int(min(5, counts[counts > 0].min()))
    if folds < 2 or (counts > 0).sum() < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01 / penalty, max_iter=200))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(model, features, targets, cv=split, method="predict_proba")
