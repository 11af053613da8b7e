"""Class-balanced sampling: first a class, then one of its images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from convsmith.catalog import technique
from convsmith.data.shuffle import generator


@technique(
    "sampler",
    "class_balanced",
    source="Shen et al. 2016, Relay backpropagation, section 3.3",
    chapter="11 不平衡样本 imbalance",
    use="every class equally likely at every step; epochs keep their length",
)
class ClassBalanced(Sampler[int]):
    """N draws an epoch: a class, each as likely as any other, then one of its images.

    Both are drawn with replacement, so that an image of a class of n is drawn N / (K n) times on average.

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.

    >>> len(list(ClassBalanced(torch.tensor([0, 1, 1]), seed=0)))
    3
    """

    def __init__(self, targets: Tensor, seed: int) -> None:
        self.order = targets.argsort(stable=True)
        counts = torch.bincount(targets)
        self.counts = counts[counts > 0]
        self.starts = self.counts.cumsum(0) - self.counts
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows().tolist())

    def rows(self) -> Tensor:
        """The epoch's rows as one tensor, which an iterator of numbers takes ten times the memory of."""
        draws = generator(self.seed, self.epoch)
        classes = torch.randint(len(self.counts), (len(self),), generator=draws)
        # double: a float has no room for the places of a class of a hundred million images
        places = torch.rand(len(self), generator=draws, dtype=torch.double) * self.counts[classes]
        return self.order[self.starts[classes] + places.long()]
