"""A linear classifier in closed form: ridge regression, with the penalty of the least left-out error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Penalties that are tried, in units of the mean squared length of a feature vector times the images.
PENALTIES = tuple(10.0 ** (power / 2) for power in range(-12, 5))
# Rows of features that are brought to double precision at a time.
BLOCK = 8192
# Images that are left out in turn where there are more than features: enough for an error to within a third
# of a percent, whatever the number of images.
LOOKED_AT = 20_000


@dataclass(frozen=True)
class Ridge:
    """A fitted classifier.

    Args:
        weight: (K, D) float64.
        bias: (K,).
        rows: (n,) images that were left out in turn: all, or as many evenly spread.
        left_out: (n, K), the answer for each of them of a classifier that was fitted without it.
        penalty: the chosen one, in the units of the features' squares times the images.
    """

    weight: Tensor
    bias: Tensor
    rows: Tensor
    left_out: Tensor
    penalty: float


def ridge(features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Ridge:
    """Fit a linear classifier to one-hot targets by least squares with a penalty on its weights.

    The penalty is the one of 17 with the least squared error of leaving each image out, which needs no
    refitting: image n's residual is divided by 1 - h_nn, the n-th diagonal entry of the matrix that maps
    targets to answers (Allen 1974; Golub, Heath & Wahba 1979). Classifying by least squares is about as
    accurate as by cross-entropy on the features of a trained net, and takes one decomposition of a matrix.
    Beside the features it needs memory for 20,000 of them and D x D numbers.

    Args:
        features: (N, D), of any float type.
        targets: (N,) classes, or (N, K) shares of them.
        weights: (N,) of the images, positive; None counts all alike.

    Returns:
        weight, bias, and the left-out answers, on the features' device.

    >>> x = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    >>> ridge(x, torch.tensor([0, 0, 1, 1])).left_out.argmax(1).tolist()
    [0, 0, 1, 1]
    """
    count, width = features.shape
    if count > width:
        moments = Moments(targets, weights, device=features.device)
        for x in torch.split(features, BLOCK):
            moments.add(x)
        return moments.solved()
    wanted = _shares(targets).double()
    own = _own(count, weights, features.device)
    center = (own[:, None] * features.double()).sum(0) / count
    middle = (own[:, None] * wanted).mean(0)
    x = (features.double() - center) * own.sqrt()[:, None]
    values, vectors = _kept(*torch.linalg.eigh(x @ x.T))
    scores = vectors * values.sqrt()
    fit = _Fit(
        x.T @ (vectors / values.sqrt()), values, scores.T @ (own.sqrt()[:, None] * (wanted - middle)), count
    )
    return fit.best(scores, wanted, own, center, middle, torch.arange(count))


class Moments:
    """Sums over images from which the same classifier is solved, where their features don't fit into memory.

    Args:
        targets: (N,) classes, or (N, K) shares of them, of all images.
        weights: (N,) of the images, positive; None counts all alike.
        device: of the features.

    >>> x, y = torch.randn(50, 4), torch.arange(50) % 3
    >>> moments = Moments(y)
    >>> for part in x.split(10):
    ...     moments.add(part)
    >>> torch.allclose(moments.solved().weight, ridge(x, y).weight)
    True
    """

    def __init__(
        self, targets: Tensor, weights: Tensor | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.targets = targets.to(device)
        # Classes as shares of them are made a block at a time.
        self.classes = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
        self.own = _own(len(targets), weights, device)
        self.rows = torch.linspace(0, len(targets) - 1, min(LOOKED_AT, len(targets))).long().to(device)
        self.seen = 0
        self.kept: list[Tensor] = []
        # Sums are about the first block's mean: about zero, large features would cancel.
        self.shift: Tensor | None = None

    def add(self, features: Tensor) -> None:
        """Count the next images' features (n, D)."""
        x = features.double()
        places = slice(self.seen, self.seen + len(x))
        if self.shift is None:
            self.shift = x.mean(0)
            self.sum = torch.zeros_like(self.shift)
            self.squares = self.shift.new_zeros(len(self.shift), len(self.shift))
            self.products = self.shift.new_zeros(len(self.shift), self.classes)
            self.totals = self.shift.new_zeros(self.classes)
        mine = self.rows[(self.rows >= self.seen) & (self.rows < self.seen + len(x))] - self.seen
        self.kept.append(features[mine])
        x, y, own = x - self.shift, self._wanted(places), self.own[places, None]
        self.sum += (own * x).sum(0)
        self.squares += x.T @ (own * x)
        self.products += x.T @ (own * y)
        self.totals += (own * y).sum(0)
        self.seen += len(x)

    def _wanted(self, places: slice | Tensor) -> Tensor:
        found = self.targets[places]
        return found.double() if found.ndim == 2 else F.one_hot(found, self.classes).double()

    def solved(self) -> Ridge:
        """The classifier of all images; each must have been added."""
        assert self.shift is not None
        assert self.seen == len(self.targets)
        count = self.seen
        off, middle = self.sum / count, self.totals / count
        values, basis = _kept(*torch.linalg.eigh(self.squares - count * torch.outer(off, off)))
        fit = _Fit(basis, values, basis.T @ (self.products - count * torch.outer(off, middle)), count)
        center, own = self.shift + off, self.own[self.rows]
        scores = ((torch.cat(self.kept).double() - center) * own.sqrt()[:, None]) @ basis
        return fit.best(scores, self._wanted(self.rows), own, center, middle, self.rows)


@dataclass(frozen=True)
class _Fit:
    """Ridge regression in the basis in which it is diagonal: its directions (D, R), their squares (R,), the
    aims (R, K) and the number of images.
    """

    basis: Tensor
    values: Tensor
    aims: Tensor
    count: int

    def best(
        self, scores: Tensor, wanted: Tensor, own: Tensor, center: Tensor, middle: Tensor, rows: Tensor
    ) -> Ridge:
        """The classifier with the penalty of the least error on images that are left out in turn.

        Args:
            scores: of these images, (n, R).
            wanted: their targets, (n, K).
            own: their weights, (n,).
            center: weighted mean of all features, (D,).
            middle: of all targets, (K,).
            rows: which images they are, (n,).
        """
        aims = wanted - middle
        scale = float(self.values.sum()) or 1.0

        def error(penalty: float) -> float:
            found = self.left_out(penalty * scale, scores, aims, own)
            return float((own[:, None] * (found - aims).square()).sum())

        penalty = min(PENALTIES, key=error) * scale
        weight = (self.basis @ (self.aims / (self.values + penalty)[:, None])).T
        left_out = self.left_out(penalty, scores, aims, own) + middle
        return Ridge(weight, middle - weight @ center, rows, left_out, penalty)

    def left_out(self, penalty: float, scores: Tensor, wanted: Tensor, own: Tensor) -> Tensor:
        """Answers for each image without it, about the weighted mean of the targets."""
        shrunk = self.values + penalty
        answers = scores @ (self.aims / shrunk[:, None]) / own.sqrt()[:, None]
        # The mean of the targets takes 1 / N of each image's weight as well.
        leverage = (scores.square() / shrunk).sum(1) + own / self.count
        return wanted - (wanted - answers) / (1 - leverage).clamp_min(1e-6)[:, None]


def temperature(answers: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """The factor that makes ``answers`` (N, K) the logits of least cross-entropy (Guo et al. 2017).

    As if one more image of each class were anything (Platt 1999): so many images without a mistake don't make
    certain.

    >>> 1 < temperature(torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4]]), torch.tensor([0, 1, 1])) < 20
    True
    """
    count, classes = answers.shape
    doubt = classes / (count + classes)
    wanted = (1 - doubt) * _shares(targets).double() + doubt / classes
    own = torch.ones(count, dtype=torch.float64) if weights is None else weights.double()
    own = own.to(answers.device)

    def loss(log_factor: float) -> float:
        found = F.cross_entropy(answers.double() * 2.0**log_factor, wanted, reduction="none")
        return float((found * own).mean())

    # The loss is convex in the factor, so that thirds of an interval close in on its minimum.
    low, high = -6.0, 10.0
    for _ in range(40):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, second) if loss(first) < loss(second) else (first, high)
    return float(2.0**low)


def _shares(targets: Tensor) -> Tensor:
    return targets if targets.ndim == 2 else F.one_hot(targets)


def _own(count: int, weights: Tensor | None, device: torch.device | str) -> Tensor:
    """Weights of the images (N,), 1 on average."""
    own = torch.ones(count) if weights is None else weights
    return (own / own.mean()).to(device, torch.float64)


def _kept(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Leave out directions in which the features don't differ."""
    keep = values > values.max().clamp_min(1e-300) * 1e-12
    return values[keep], vectors[:, keep]
