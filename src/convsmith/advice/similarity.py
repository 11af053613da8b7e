"""Similarity of new images to those that a net was trained on, measured by linear probes of its stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import bdtrc

from convsmith.nn.ridge import ridge

# Images that are probed: enough for an accuracy to within a few percent.
PROBED = 1000
# Images of a class that the folds need, and how many are taken where not all classes can be probed.
FOLDS, EACH = 5, 10
# Chance to call a last stage worse that isn't.
LEVEL = 0.05


@dataclass(frozen=True)
class Similarity:
    """Accuracies of linear classifiers on a source's features, each image left out in turn.

    Args:
        last: on the input of the source's classifier.
        before: on the input of the source's last stage.
        images: that were probed.
        lost: of them, right before the last stage and wrong after it; None takes the two for independent.
        won: the other way round.
        classes: that were probed.
        right: which images the last stage's classifier has right, (N,).
    """

    last: float
    before: float
    images: int
    lost: int | None = None
    won: int | None = None
    classes: int | None = None
    right: Any = field(default=None, compare=False, repr=False)

    @property
    def similar(self) -> bool:
        """Whether the source's last stage tells these classes apart as well as its own input does.

        It doesn't if it loses more images than it wins, beyond chance: both answers are about the same
        images, so only those count on which they differ.
        """
        lost, won = self.lost, self.won
        if lost is None or won is None:
            lost = round(self.images * self.before * (1 - self.last))
            won = round(self.images * self.last * (1 - self.before))
        return worse(lost, won) > LEVEL


def worse(lost: int, won: int) -> float:
    """Mid-p value of McNemar's exact test that as many are lost as won, against more lost (Fagerland 2013).

    >>> worse(1, 0), round(worse(10, 2), 4)
    (0.25, 0.0112)
    """
    # The chance of more than so many, and of as many or more; scipy.stats takes a second to be imported.
    more, as_many = bdtrc([lost, lost - 1], lost + won, 0.5)
    return float((more + as_many) / 2)


def better(other: Similarity, own: Similarity) -> bool:
    """Whether another net's features tell the same images apart better than a net's own, beyond chance.

    >>> one, two = (Similarity(0, 0, 40, right=np.arange(40) < n) for n in (20, 35))
    >>> better(two, one), better(one, two), better(one, one)
    (True, False, False)
    """
    gained, lost = other.right & ~own.right, own.right & ~other.right
    return worse(int(gained.sum()), int(lost.sum())) < LEVEL


def similarity(last: Any, before: Any, targets: Any) -> Similarity | None:
    """Probe two depths of a source with linear classifiers (Alain & Bengio 2017), leaving each image out.

    Shallow stages are general, the last one is specific to its source's classes (Yosinski et al. 2014). If
    the last stage loses accuracy against the stage before, the images are unlike the source's. The accuracy
    alone would say less: any features tell simple images apart.

    Args:
        last: input of the source's classifier, (N, D).
        before: input of its last stage, (N, E).
        targets: classes (N,).

    Returns:
        None if fewer than two classes have two images; classes with one are left out.

    >>> x = np.repeat([[0.0], [1.0]], 10, 0)
    >>> similarity(0 * x, x, np.repeat([0, 1], 10)).similar
    False
    """
    rows = several(targets)
    classes, given = np.unique(targets[rows], return_inverse=True)
    if len(classes) < 2:
        return None
    wanted = torch.from_numpy(given)
    after, input_of = (
        (
            ridge(torch.from_numpy(np.ascontiguousarray(features[rows])), wanted).left_out.argmax(1) == wanted
        ).numpy()
        for features in (last, before)
    )
    return Similarity(
        float(after.mean()),
        float(input_of.mean()),
        len(given),
        lost=int((input_of & ~after).sum()),
        won=int((after & ~input_of).sum()),
        classes=len(classes),
        right=after,
    )


def several(targets: Any, least: int = 2) -> Any:
    """Rows of the classes that have at least ``least`` images, (n,).

    >>> several(np.array([4, 0, 4, 1]))
    array([0, 2])
    """
    counts = np.bincount(targets)
    return np.flatnonzero(counts[targets] >= least)


def sampled(targets: Any, count: int = PROBED, seed: int = 0) -> Any:
    """Rows to probe, sorted: evenly spread, or of some classes, where there are too many for all.

    A class of which one image is taken says nothing: of 1,000 classes 100 are drawn, and ten images of each.

    Args:
        targets: classes of all images, (N,).
        count: of rows, at most.
        seed: of the drawn classes.
    """
    even = np.linspace(0, len(targets) - 1, min(count, len(targets))).astype(int)
    kept = np.bincount(targets[even], minlength=int(targets.max()) + 1)
    there = np.bincount(targets)
    if (kept[there > 0] >= np.minimum(FOLDS, there[there > 0])).all() and (there[there > 0] > 1).all():
        return even
    draws = np.random.default_rng(seed)
    least = FOLDS if (there >= FOLDS).sum() > 1 else 2
    classes = np.flatnonzero(there >= least)
    each = max(EACH, count // max(1, len(classes)))
    chosen = draws.permutation(classes)[: max(2, count // each)]
    order = draws.permutation(np.flatnonzero(np.isin(targets, chosen)))
    order = order[np.argsort(targets[order], kind="stable")]
    starts = np.searchsorted(targets[order], targets[order])
    return np.sort(order[np.arange(len(order)) - starts < each])
