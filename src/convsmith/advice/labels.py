"""Labels that are probably wrong, by classifiers that were trained without the image in question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp

from convsmith.advice.similarity import several
from convsmith.data.item import Item
from convsmith.errors import shown
from convsmith.findings import Finding
from convsmith.nn.ridge import ridge, temperature

# Share of wrong labels from which on there is a finding; all of its interval must lie above.
WORTH = 0.05
# How much log-likelihood the ends of a 99% interval lose (half of a chi-square's quantile).
INTERVAL = 3.32
# Least skill of the probe on right labels, (accuracy - guessing) / (1 - guessing).
SKILL = 0.55
# Sharpnesses and shares that are tried.
TEMPERATURES = np.geomspace(0.15, 6, 24)
SHARES = np.linspace(0, 0.8, 81)


@dataclass(frozen=True)
class Noise:
    """Share of labels that are wrong.

    Args:
        share: the likeliest one.
        least: the lower end of its 99% interval; 0 where all labels may be right but difficult.
        doubts: probability of each label to be a random one, (N,).
    """

    share: float
    least: float
    doubts: Any


def noise(posteriors: Any, labels: Any) -> Noise:
    """Tell wrong labels from difficult ones by how sure the probe is where it disagrees.

    p(label) = (1 - r) s + r / K, s = softmax(log(posteriors) / T): a label is random with probability r, else
    difficult as the probe says, sharpened by T (Guo et al. 2017). Classes that are alike are confused where
    the probe is in doubt, wrong labels are spread over all images and classes; r and T of the largest
    likelihood tell which it is. A probe that knows nothing has s = 1 / K, which r does not change.

    Args:
        posteriors: (N, K), each row from a classifier that wasn't trained on the image.
        labels: (N,).
    """
    count, k = posteriors.shape
    logs = np.log(np.clip(posteriors, 1e-12, 1))
    likelihoods = np.empty((len(TEMPERATURES), len(SHARES)))
    own = np.empty((len(TEMPERATURES), count))
    for row, sharpness in enumerate(TEMPERATURES):
        scaled = logs / sharpness
        scaled -= logsumexp(scaled, axis=1, keepdims=True)
        own[row] = np.exp(scaled[np.arange(count), labels])
        mixed = own[row][:, None] * (1 - SHARES) + SHARES / k
        likelihoods[row] = np.log(np.maximum(mixed, 1e-12)).sum(0)
    best, place = np.unravel_index(likelihoods.argmax(), likelihoods.shape)
    r = float(SHARES[place])
    random = r / k
    profile = likelihoods.max(0)
    # Of the labels drawn at random, one in K is right.
    return Noise(
        share=r * (1 - 1 / k),
        least=float(SHARES[profile >= profile.max() - INTERVAL].min()) * (1 - 1 / k),
        doubts=random / np.maximum((1 - r) * own[best] + random, 1e-12),
    )


def suspects(posteriors: Any, labels: Any) -> Any:
    """Mask (N,) of labels for which a net in training is sure of another class.

    Another class is as probable as that class usually is for its own images, and the given class is less so
    (Northcutt, Jiang & Chuang 2021, confident learning, equation 2).

    Args:
        posteriors: (N, K).
        labels: (N,).
    """
    classes = np.arange(posteriors.shape[1])
    usual = np.array([posteriors[labels == k, k].mean() if (labels == k).any() else np.inf for k in classes])
    confident = np.where(posteriors >= usual, posteriors, -1.0)
    best = confident.argmax(1)
    return (confident.max(1) > 0) & (best != labels)


def directions(features: Any) -> Any:
    """Features in units of their deviations, each image's of the same length, (N, D).

    Without it the probe is surest of images that are far from all others, for whichever class.
    """
    spread = features.std(0)
    scaled = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    length = np.sqrt(np.square(scaled).mean(1, keepdims=True))
    return scaled / np.where(length > 0, length, 1)


def posteriors(features: Any, labels: Any) -> Any:
    """Posteriors (N, K) by ridge regression that left each image out (:mod:`convsmith.nn.ridge`).

    Its penalty is the one of the least left-out error, so that classes which lie in few of many directions
    (an arrow's, left or right) are told apart too; a fixed one would call their images doubtful.

    Args:
        features: (N, D).
        labels: (N,) in 0 ... K - 1, each at least twice.
    """
    given = torch.from_numpy(labels)
    answers = ridge(torch.from_numpy(np.ascontiguousarray(directions(features))), given).left_out
    return (answers * temperature(answers, given)).softmax(1).numpy()


def findings(looks: Sequence[Any], labels: Any, items: Sequence[Item]) -> list[Finding]:
    """Finding about doubtful labels; none if no probe explains enough of them to tell.

    Args:
        looks: features of the same images, each (N, D): what one of them can't tell apart another one may.
            The probe that is right most often is heard, since a weak one takes its own errors for wrong
            labels.
        labels: (N,).
        items: the images' files.
    """
    rows = several(labels)
    if len(np.unique(labels[rows])) < 2:
        return []
    given = np.unique(labels[rows], return_inverse=True)[1]
    probes = [posteriors(features[rows], given) for features in looks]
    best = max(probes, key=lambda probe: float((probe.argmax(1) == given).mean()))
    found = noise(best, given)
    right = float((best.argmax(1) == given).mean())
    guessing = float(np.bincount(given).max() / len(given))
    skill = (right / (1 - found.share) - guessing) / (1 - guessing)
    if skill < SKILL or found.least < WORTH:
        return []
    worst = [shown(items[int(row)].path) for row in rows[np.argsort(-found.doubts)][:3]]
    return [
        Finding(
            seen=f"about {100 * found.share:.0f}% of the labels are doubtful, of {len(given):,} looked at, "
            f"most {', '.join(worst)}",
            means=f"a linear classifier that never saw these images is right on {100 * right:.0f}%, and "
            f"sure of other classes, unlike the given ones, for the rest",
            change="look at them; until then smooth the labels (`objective.cross_entropy.smoothing=0.1`)",
            why="wrong labels are learned by heart in the end",
            source="Angluin & Laird 1988, random classification noise; Guo et al. 2017, temperature scaling",
            name="label_noise",
        )
    ]
