"""Similarity of new images to those that a net was trained on, measured by linear probes of its stages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# Images that are probed: enough for an accuracy to within a few percent.
PROBED = 1000


@dataclass(frozen=True)
class Similarity:
    """Cross-validated accuracies of linear classifiers on a source's features.

    Args:
        last: on the input of the source's classifier.
        before: on the input of the source's last stage.
        images: that were probed.
    """

    last: float
    before: float
    images: int

    @property
    def similar(self) -> bool:
        """Whether the source's last stage tells these classes apart as well as its own input does.

        Less by up to a standard error counts as well.
        """
        error = math.sqrt(self.before * (1 - self.before) / self.images)
        return self.last >= self.before - error


def similarity(last: Any, before: Any, targets: Any, seed: int = 0) -> Similarity | None:
    """Probe two depths of a source with logistic regressions (Alain & Bengio 2017).

    Shallow stages are general, the last one is specific to its source's classes (Yosinski et al. 2014). If
    the last stage loses accuracy against the stage before, the images are unlike the source's. The accuracy
    alone would say less: any features tell simple images apart.

    Args:
        last: input of the source's classifier, (N, D).
        before: input of its last stage, (N, E).
        targets: classes (N,).
        seed: of the folds.

    Returns:
        None if a class has fewer than 2 images.

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
    """Posteriors (N, K) from linear classifiers that weren't trained on the image in question.

    There are 5 folds, or as many as the smallest class has images; None if a class has only one image.
    """
    counts = np.bincount(targets)
    folds = int(min(5, counts[counts > 0].min()))
    if folds < 2 or (counts > 0).sum() < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01 / penalty, max_iter=200))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(model, features, targets, cv=split, method="predict_proba")
