"""How far a unit answers to one class alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# A unit answers to one class from here on: its mean response there is three times that to the others.
SELECTIVE = 0.5
SHUFFLES = 10


@dataclass(frozen=True)
class Selectivity:
    """``index`` (C,) in [0, 1], nan for a unit without response; ``best`` (C,), the class it prefers.

    ``by_chance`` is how many units would count as ``selective`` if the images' labels meant nothing.
    """

    index: Tensor
    best: Tensor
    by_chance: float

    @property
    def selective(self) -> Tensor:
        """Which units answer to one class, bool (C,): index >= :data:`SELECTIVE`."""
        return self.index >= SELECTIVE


def selectivity(means: Tensor, target: Tensor) -> Selectivity:
    """Class selectivity of each unit (Morcos et al. 2018, On the importance of single directions).

    (a - b) / (a + b), with a the largest of a unit's mean responses to the images of a class, and b the mean
    of those to the other classes: 0 where all classes excite it alike, 1 where one class alone does.

    Few images make any unit look selective. So labels are shuffled among the images, always the same way,
    and the units that count as selective then are counted too (mean of 10 shuffles).

    Args:
        means: mean response of each unit over each image, >= 0, (N, C).
        target: class of each image, (N,).

    Raises:
        ValueError: if there are less than two classes, or a response is negative.

    >>> selectivity(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1])).index
    tensor([0.5000, 0.0000])
    """
    if bool((means < 0).any()):
        raise ValueError("the index is for responses >= 0")
    classes, own = torch.unique(target, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("selectivity compares at least 2 classes")
    index, best = _index(means, own)
    generator = torch.Generator().manual_seed(0)
    chance = [
        (_index(means, own[torch.randperm(len(own), generator=generator)])[0] >= SELECTIVE).sum().item()
        for _ in range(SHUFFLES)
    ]
    return Selectivity(index, classes[best], sum(chance) / SHUFFLES)


def _index(means: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Index and place of the largest class, (C,) each, for classes 0..K-1 that all have images."""
    member = torch.nn.functional.one_hot(own).to(means)
    by_class = (member / member.sum(0)).T @ means
    largest, best = by_class.max(0)
    others = (by_class.sum(0) - largest) / (len(by_class) - 1)
    # 0 / 0 is nan: a dead unit answers to no class
    return (largest - others) / (largest + others), best
