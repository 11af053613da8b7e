"""Whether mirrored images keep their class: a linear probe of pixels is asked, not the number of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.special import bdtrc
from torch import Tensor

from convsmith.data.batches import Split

# Images that are probed, and the side to which they are reduced.
PROBED, SIDE = 2000, 16
FOLDS = 5
# One-sided probability below which a loss is no accident, and standard errors above chance from which on a
# probe knows anything.
LEVEL, KNOWS = 0.01, 3.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mirrored:
    """What a probe that was trained on some images says of others, and of the same ones mirrored.

    Args:
        own: images that it has right.
        mirrored: the same, of the mirrored images.
        only_own, only_mirrored: images right in one of the two alone.
        images: that were probed.
        chance: share of the most frequent class.
    """

    own: int
    mirrored: int
    only_own: int
    only_mirrored: int
    images: int
    chance: float

    @property
    def knows(self) -> bool:
        """Whether the probe is better than guessing, so that what it says counts."""
        error = math.sqrt(self.chance * (1 - self.chance) / self.images)
        return self.own / self.images > self.chance + KNOWS * error

    @property
    def loses(self) -> bool:
        """Whether mirroring costs the probe more than chance would (McNemar 1947, exact, one-sided)."""
        differ = self.only_own + self.only_mirrored
        return differ > 0 and bool(bdtrc(self.only_own - 1, differ, 0.5) < LEVEL)


def probe(train: Split, classes: int, seed: int = 0) -> Mirrored | None:
    """Ask a ridge classifier on 16 x 16 pixels about images and their mirror images, in 5 folds.

    Args:
        train: the training images, of which 2,000 are taken evenly.
        classes: K.
        seed: of the folds.

    Returns:
        None with fewer than 10 images.
    """
    rows = torch.linspace(0, len(train) - 1, min(PROBED, len(train))).long()
    if len(rows) < 2 * FOLDS:
        return None
    own, other = _thumbnails(train, rows)
    targets = train.targets[rows].numpy()
    fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    right, still = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for number in range(FOLDS):
        out = fold == number
        weights = _ridge(own[~out], np.eye(classes)[targets[~out]])
        right[out] = (own[out] @ weights).argmax(1) == targets[out]
        still[out] = (other[out] @ weights).argmax(1) == targets[out]
    return Mirrored(
        own=int(right.sum()),
        mirrored=int(still.sum()),
        only_own=int((right & ~still).sum()),
        only_mirrored=int((still & ~right).sum()),
        images=len(rows),
        chance=float(np.bincount(targets).max() / len(rows)),
    )


def _thumbnails(train: Split, rows: Tensor) -> tuple[Floats, Floats]:
    """Standardized pixels (N, D) of the images and of their mirror images, each with a constant."""
    small = []
    for pixels in train.store.stream(list(torch.split(train.rows[rows], 256))):
        images = pixels.cpu().permute(0, 3, 1, 2).float()
        side = min(SIDE, images.shape[2])
        small.append(F.interpolate(images, size=(side, side), mode="bilinear", antialias=True))
    images = torch.cat(small).double()
    own, other = images.flatten(1).numpy(), images.flip(3).flatten(1).numpy()
    mean, std = own.mean(0), own.std() + 1e-9
    one = np.ones((len(own), 1))
    return np.hstack([(own - mean) / std, one]), np.hstack([(other - mean) / std, one])


def _ridge(inputs: Floats, targets: Floats) -> Floats:
    """Weights (D, K) of a ridge regression to one-hot targets (N, K)."""
    # The penalty grows with the number of inputs, of which neighbors say almost the same.
    penalty = 0.1 * inputs.shape[1]
    if len(inputs) < inputs.shape[1]:
        gram = inputs @ inputs.T + penalty * np.eye(len(inputs))
        found: Floats = inputs.T @ np.linalg.solve(gram, targets)
        return found
    moments = inputs.T @ inputs + penalty * np.eye(inputs.shape[1])
    solved: Floats = np.linalg.solve(moments, inputs.T @ targets)
    return solved
