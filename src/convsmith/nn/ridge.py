"""A linear classifier in closed form: ridge regression, with the penalty of the least left-out error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Penalties that are tried, in units of the mean squared length of a feature vector times the images.
PENALTIES = tuple(10.0 ** (power / 2) for power in range(-12, 5))
# Rows of features that are brought to double precision at a time.
BLOCK = 8192


@dataclass(frozen=True)
class Ridge:
    """A fitted classifier.

    Args:
        weight: (K, D) float64.
        bias: (K,).
        left_out: (N, K), the answer for each image of a classifier that was fitted without it.
        penalty: the chosen one, in the units of the features' squares times the images.
    """

    weight: Tensor
    bias: Tensor
    left_out: Tensor
    penalty: float


def ridge(features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Ridge:
    """Fit a linear classifier to one-hot targets by least squares with a penalty on its weights.

    The penalty is the one of 17 with the least squared error of leaving each image out, which needs no
    refitting: image n's residual is divided by 1 - h_nn, the n-th diagonal entry of the matrix that maps
    targets to answers (Allen 1974; Golub, Heath & Wahba 1979). Classifying by least squares is about as
    accurate as by cross-entropy on the features of a trained net, and takes one decomposition of a matrix.

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
    wanted = _shares(targets).double()
    own = torch.ones(len(features)) if weights is None else weights
    own = (own / own.mean()).to(features.device, torch.float64)
    center = _blocks(features, lambda x, w: (w[:, None] * x).sum(0), own) / len(features)
    middle = (own[:, None] * wanted).mean(0)
    basis, values, scores = _decomposed(features, center, own)
    # In the basis, with images scaled by the roots of their weights, ridge regression is diagonal.
    aims = scores.T @ (own.sqrt()[:, None] * (wanted - middle))
    scale = float(values.sum()) or 1.0
    best = min(PENALTIES, key=lambda p: _error(p * scale, values, scores, aims, wanted - middle, own))
    left_out = _left_out(best * scale, values, scores, aims, wanted - middle, own) + middle
    weight = (basis @ (aims / (values + best * scale)[:, None])).T
    return Ridge(weight, middle - weight @ center, left_out, best * scale)


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


def _blocks(features: Tensor, of: Callable[[Tensor, Tensor], Tensor], own: Tensor) -> Tensor:
    """Sum of ``of(x, w)`` over blocks of rows in double precision."""
    first, *rest = zip(torch.split(features, BLOCK), torch.split(own, BLOCK))
    total = of(first[0].double(), first[1])
    for x, w in rest:
        total += of(x.double(), w)
    return total


def _decomposed(features: Tensor, center: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted, centered features as scores: basis (D, R), eigenvalues (R,), scores (N, R)."""
    count, width = features.shape
    roots = own.sqrt()
    if count <= width:
        x = (features.double() - center) * roots[:, None]
        values, vectors = torch.linalg.eigh(x @ x.T)
        values, vectors = _kept(values, vectors)
        basis = x.T @ (vectors / values.sqrt())
        return basis, values, vectors * values.sqrt()

    def moments(x: Tensor, w: Tensor) -> Tensor:
        x = x - center
        return x.T @ (w[:, None] * x)

    values, basis = _kept(*torch.linalg.eigh(_blocks(features, moments, own)))
    parts = [
        ((x.double() - center) * r[:, None]) @ basis
        for x, r in zip(torch.split(features, BLOCK), torch.split(roots, BLOCK))
    ]
    return basis, values, torch.cat(parts)


def _kept(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Leave out directions in which the features don't differ."""
    keep = values > values.max().clamp_min(1e-300) * 1e-12
    return values[keep], vectors[:, keep]


def _left_out(
    penalty: float, values: Tensor, scores: Tensor, aims: Tensor, wanted: Tensor, own: Tensor
) -> Tensor:
    """Answers for each image without it, about the weighted mean of the targets."""
    shrunk = values + penalty
    answers = scores @ (aims / shrunk[:, None]) / own.sqrt()[:, None]
    # The mean of the targets takes 1 / N of each image's weight as well.
    leverage = (scores.square() / shrunk).sum(1) + own / len(own)
    return wanted - (wanted - answers) / (1 - leverage).clamp_min(1e-6)[:, None]


def _error(
    penalty: float, values: Tensor, scores: Tensor, aims: Tensor, wanted: Tensor, own: Tensor
) -> float:
    found = _left_out(penalty, values, scores, aims, wanted, own)
    return float((own[:, None] * (found - wanted).square()).sum())
