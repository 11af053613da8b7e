"""How similar new images are to those that a net was trained on: what its stages can tell of them."""

from __future__ import annotations

import math
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
    """Accuracies of linear classifiers on a source's features, cross-validated.

    ``last`` reads what the source's classifier reads, ``before`` what its last stage reads.
    """

    last: float
    before: float
    images: int

    @property
    def similar(self) -> bool:
        """Whether the source's last stage, its most specific, tells these classes apart no worse than what
        it is computed from, to within a standard error."""
        error = math.sqrt(self.before * (1 - self.before) / self.images)
        return self.last >= self.before - error


def similarity(last: Any, before: Any, targets: Any, seed: int = 0) -> Similarity | None:
    """Probe two depths of a source with logistic regressions (Alain & Bengio 2017).

    Shallow stages are general, the last one is specific to its source's classes (Yosinski et al. 2014). Where
    it loses what the stage before could still tell, the images are unlike the source's. Accuracy alone says
    less: simple images are told apart by any features.

    Args:
        last: what the source's classifier reads, (N, D).
        before: what the last stage reads, (N, E).
        targets: classes (N,).
        seed: of the folds.

    Returns:
        None where a class has fewer than 2 images among these.

    >>> x = np.repeat([[0.0], [1.0]], 10, 0)
    >>> similarity(0 * x, x, np.repeat([0, 1], 10)).similar
    False
    """
    answers = [probed(features, targets, seed) for features in (last, before)]
    right = [float((found.argmax(1) == targets).mean()) for found in answers if found is not None]
    if len(right) < 2:
        return None
    return Similarity(right[0], right[1], len(targets))


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
