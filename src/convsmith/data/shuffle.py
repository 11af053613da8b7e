"""The plain sampler: every image once an epoch, in random order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from convsmith.catalog import technique


def generator(*key: int) -> torch.Generator:
    """A CPU generator whose draws are a pure function of ``key``, e.g. (seed, epoch, batch).

    >>> bool(torch.rand(1, generator=generator(0, 3)) == torch.rand(1, generator=generator(0, 3)))
    True
    """
    import numpy as np

    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def by_class(targets: Tensor) -> list[Tensor]:
    """List the rows of each class that has any, in order; (N,) to a list of (n,).

    >>> by_class(torch.tensor([2, 0, 2]))
    [tensor([1]), tensor([0, 2])]
    """
    counts = torch.bincount(targets)
    groups = torch.split(targets.argsort(stable=True), counts.tolist())
    return [group for group in groups if len(group)]


@technique(
    "sampler",
    "shuffle",
    source="Bottou 2012, Stochastic gradient descent tricks",
    chapter="10 网络训练 training",
    use="classes are about even: mini-batches drawn without replacement",
)
class Shuffle(Sampler[int]):
    """Each row once an epoch, in an order that is a pure function of (seed, epoch).

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.

    >>> sorted(Shuffle(torch.tensor([0, 1, 1]), seed=0))
    [0, 1, 2]
    """

    def __init__(self, targets: Tensor, seed: int) -> None:
        self.count = len(targets)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.count, generator=generator(self.seed, self.epoch)).tolist())

    def __len__(self) -> int:
        return self.count
