"""Samplers that give every class its number of images an epoch: over-sampling, under-sampling, both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.utils.data import Sampler

from convsmith.catalog import technique
from convsmith.data.shuffle import by_class, generator, scrambled

# Cells of the table of an epoch that are shuffled at once.
SOME = 1 << 20


class Quota(Sampler[int]):
    """``quota`` images of every class an epoch, spread so evenly that every batch has its share of each.

    A class goes through its images in random order, and through all of them before any comes again, over
    the borders of epochs too: a quota below a class's size discards nothing, one above repeats all alike.
    An epoch is a pure function of (seed, epoch).

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.
        quota: images of each class an epoch.

    >>> rows = Quota(torch.tensor([0, 0, 0, 0, 1]), seed=0, quota=2)
    >>> first = list(rows); rows.set_epoch(1); sorted({*first, *rows})
    [0, 1, 2, 3, 4]
    """

    def __init__(self, targets: Tensor, seed: int, quota: int) -> None:
        self.groups = by_class(targets)
        self.quota = quota
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.quota * len(self.groups)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows().tolist())

    def rows(self) -> Tensor:
        """The epoch's rows as one tensor, which an iterator of numbers takes ten times the memory of."""
        table = torch.empty(self.quota, len(self.groups), dtype=torch.long)
        for number, column in enumerate(table.unbind(1)):
            column.copy_(self._taken(number))
        # Row i holds the i-th image of each class: shuffled within, so that no batch lacks a class.
        draws = generator(self.seed, self.epoch)
        for some in torch.split(table, max(1, SOME // len(self.groups))):
            some.copy_(some.gather(1, torch.rand(some.shape, generator=draws).argsort(1)))
        return table.flatten()

    def _taken(self, number: int) -> Tensor:
        """Take this epoch's part of a class's endless sequence of shuffled images."""
        group = self.groups[number]
        first = self.epoch * self.quota
        n = len(group)
        cycles = range(first // n, (first + self.quota - 1) // n + 1)
        # A class of a few images goes round thousands of times: all rounds are sorted at once.
        counter = np.arange(cycles[0] * n, (cycles[-1] + 1) * n, dtype=np.uint64)
        places = scrambled((self.seed, number), counter).reshape(len(cycles), n).argsort(1).reshape(-1)
        start = first - cycles[0] * n
        return group[torch.from_numpy(places[start : start + self.quota])]


def _sizes(targets: Tensor) -> tuple[int, int]:
    """Images of the smallest and of the largest class."""
    counts = torch.bincount(targets)
    counts = counts[counts > 0]
    return int(counts.min()), int(counts.max())


@technique(
    "sampler",
    "over_sampling",
    source="Buda et al. 2018, A systematic study of the class imbalance problem in convolutional networks",
    chapter="11 不平衡样本 imbalance",
    use="small classes matter, and they aren't so small that repeating them is learning them by heart",
)
def over_sampling(targets: Tensor, seed: int) -> Quota:
    """Every class as often as the largest: images of small classes are repeated, an epoch grows.

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.

    >>> len(over_sampling(torch.tensor([0, 0, 0, 1]), seed=0))
    6
    """
    return Quota(targets, seed, _sizes(targets)[1])


@technique(
    "sampler",
    "under_sampling",
    source="Buda et al. 2018; the notes: every batch controlled, nothing thrown away",
    chapter="11 不平衡样本 imbalance",
    use="many images and quick epochs; each epoch takes the next part of the large classes",
)
def under_sampling(targets: Tensor, seed: int) -> Quota:
    """Every class as often as the smallest in each batch and epoch; later epochs see the other images.

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.

    >>> len(under_sampling(torch.tensor([0, 0, 0, 1]), seed=0))
    2
    """
    return Quota(targets, seed, _sizes(targets)[0])


@technique(
    "sampler",
    "over_under_sampling",
    source="Buda et al. 2018; Chawla et al. 2002, section 5",
    chapter="11 不平衡样本 imbalance",
    use="the safe choice of the three: less repetition than over-sampling, longer epochs than under-sampling",
)
def over_under_sampling(targets: Tensor, seed: int, share: Annotated[float, Ge(0), Le(1)] = 0.5) -> Quota:
    """Every class equally often, between smallest and largest: small ones repeat, large ones take turns.

    The quota is smallest^(1 - share) * largest^share: their geometric mean by default.

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.
        share: 0 is under-sampling, 1 over-sampling.

    >>> len(over_under_sampling(torch.tensor([0] * 100 + [1]), seed=0))
    20
    """
    smallest, largest = _sizes(targets)
    quota = math.exp((1 - share) * math.log(smallest) + share * math.log(largest))
    return Quota(targets, seed, round(quota))
