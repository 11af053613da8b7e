"""The loss of guessing: of the best answer that doesn't look at the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.objectives.objective import IMAGELESS, build, targets_of

# Images that stand for the classes' shares, at most so many beyond one a class.
IMAGES = 2000


def guessing(section: Mapping[str, Any], counts: Mapping[str, int]) -> float:
    """Loss of an objective for classes, where all images get one answer: the best of a few.

    These are equal scores, the logarithm of the classes' shares, and the commonest class by a margin.
    With cross-entropy it is the entropy of the shares, log K if they are equal; with the hinge at most 1, with
    the ramp at most 1 - s.

    Args:
        section: of the recipe, ``{name: {argument: value}}``.
        counts: images of each class, in all at least 1.

    Returns:
        the sum of all terms that read images; cross-entropy's where a term can't be built without its files.

    >>> [round(guessing({name: {}}, {"a": 9, "b": 1}), 3) for name in ("cross_entropy", "hinge", "ramp")]
    [0.325, 0.2, 0.2]
    """
    present = {name: count for name, count in counts.items() if count}
    numbers = torch.tensor(list(present.values()), dtype=torch.float64)
    shares = numbers / numbers.sum()
    entropy = float(-(shares * shares.log()).sum())
    classes = list(present)
    facts = {
        "num_classes": lambda: len(classes),
        "num_features": lambda: 1,
        "classes": lambda: classes,
        "counts": lambda: numbers.long(),
    }
    own = {name: value for name, value in section.items() if _reads_classes(name)}
    try:
        objective, _ = build(own, facts=facts)
        target = torch.arange(len(classes)).repeat_interleave((shares * IMAGES).round().long().clamp_min(1))
        common = torch.nn.functional.one_hot(shares.argmax(), len(classes)).double()
        answers = (torch.zeros_like(shares), shares.log(), common, 2 * common, 10 * common)
        found = [_loss(objective, answer.float(), target) for answer in answers]
    except (UserError, OSError, ValueError, TypeError, RuntimeError, KeyError):
        return entropy
    finite = [loss for loss in found if math.isfinite(loss)]
    return min(finite) if finite else entropy


def _reads_classes(name: str) -> bool:
    """Whether ``name`` is a term that reads classes."""
    try:
        return "classes" in targets_of(name)
    except UserError:
        return False


@torch.no_grad()
def _loss(objective: Any, answer: Tensor, target: Tensor) -> float:
    images = len(target)
    # A classifier that sees nothing: features are zero, and its bias is the answer.
    head = nn.Linear(1, len(answer))
    head.bias.copy_(answer)
    seen = {
        "input": answer.expand(images, -1),
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
