"""Loss of guessing and of knowing: what lies between the two is what there is to learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.objectives.objective import IMAGELESS, build, targets_of

# Images that stand for the classes' shares, at most so many beyond one a class.
IMAGES = 2000
# Margins of answers that are right.
MARGINS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30)


def guessing(section: Mapping[str, Any], counts: Mapping[str, int]) -> float:
    """Loss of an objective for classes, where all images get one answer: the best of a few.

    These are equal scores, the logarithm of the classes' shares, and the commonest class by a margin.
    With cross-entropy it is the entropy of the shares, log K if they are equal; with the hinge at most 1,
    with
    the ramp at most 1 - s.

    Args:
        section: of the recipe, ``{name: {argument: value}}``.
        counts: images of each class, in all at least 1.

    Returns:
        the sum of all terms that read images; cross-entropy's where a term can't be built without its files.

    >>> [round(guessing({name: {}}, {"a": 9, "b": 1}), 3) for name in ("cross_entropy", "hinge", "ramp")]
    [0.325, 0.2, 0.2]
    """
    shares = _shares(counts)
    common = F.one_hot(shares.argmax(), len(shares)).double()
    answers = (torch.zeros_like(shares), shares.log(), common, 2 * common, 10 * common)
    found = _least(section, counts, [answer.expand(len(shares), -1) for answer in answers])
    return float(-(shares * shares.log()).sum()) if found is None else found


def knowing(section: Mapping[str, Any], counts: Mapping[str, int]) -> float:
    """Least loss of an objective for classes, where each image gets its own class by the best margin.

    It is 0 but where targets are smoothed.

    Args:
        section, counts: as for :func:`guessing`.

    >>> ten = dict.fromkeys("abcdefghij", 1)
    >>> [round(knowing({"cross_entropy": {"smoothing": s}}, ten), 2) for s in (0.0, 0.1)]
    [0.0, 0.51]
    """
    classes = len(_shares(counts))
    found = _least(section, counts, [margin * torch.eye(classes).double() for margin in MARGINS])
    return 0.0 if found is None else found


def _shares(counts: Mapping[str, int]) -> Tensor:
    numbers = torch.tensor([count for count in counts.values() if count], dtype=torch.float64)
    return numbers / numbers.sum()


def _least(section: Mapping[str, Any], counts: Mapping[str, int], answers: list[Tensor]) -> float | None:
    """The least loss of some answers, each (K, K): scores for the images of a class, by row; None if the
    terms
    can't be built, or have no finite loss.
    """
    shares = _shares(counts)
    classes = [name for name, count in counts.items() if count]
    facts = {
        "num_classes": lambda: len(classes),
        "num_features": lambda: 1,
        "classes": lambda: classes,
        "counts": lambda: torch.tensor([counts[name] for name in classes]),
    }
    own = {name: value for name, value in section.items() if _reads_classes(name)}
    try:
        # In evaluation, since training moves centers, and asks other processes for it.
        objective = build(own, facts=facts)[0].eval()
        target = torch.arange(len(classes)).repeat_interleave((shares * IMAGES).round().long().clamp_min(1))
        found = [_loss(objective, answer.float(), target) for answer in answers]
    except (UserError, OSError, ValueError, TypeError, RuntimeError, KeyError):
        return None
    return min((loss for loss in found if math.isfinite(loss)), default=None)


def _reads_classes(name: str) -> bool:
    """Whether ``name`` is a term that reads classes."""
    try:
        return "classes" in targets_of(name)
    except UserError:
        return False


@torch.no_grad()
def _loss(objective: Any, answer: Tensor, target: Tensor) -> float:
    images = len(target)
    # A classifier that sees nothing: features are zero, and take no part in margins.
    head = nn.Linear(1, len(answer))
    seen = {
        "input": answer[target],
        "features": torch.zeros(images, 1),
        "target": target,
        "costs": (1 - torch.eye(len(answer)))[target],
        "images": torch.zeros(images, 1, 1, 1),
        "head": head,
        "model": head,
        "progress": torch.zeros(()),
    }
    values = objective(**seen)
    return float(sum(v for name, v in values.items() if not set(objective.reads[name]) <= IMAGELESS))
