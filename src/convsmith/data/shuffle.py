"""The plain sampler: every image once an epoch, in random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Sampler

from convsmith.catalog import technique

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def generator(*key: int) -> torch.Generator:
    """A CPU generator whose draws are a pure function of ``key``, e.g. (seed, epoch, batch).

    >>> bool(torch.rand(1, generator=generator(0, 3)) == torch.rand(1, generator=generator(0, 3)))
    True
    """
    import numpy as np

    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def scrambled(key: tuple[int, ...], numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Random 64 bits for each number, a pure function of (key, number), so that any part is drawn alone.

    The mixing of Steele et al. 2014 (SplitMix64) of a counter.

    >>> import numpy as np
    >>> some = scrambled((7,), np.arange(10, dtype=np.uint64))
    >>> bool((some[3:] == scrambled((7,), np.arange(3, 10, dtype=np.uint64))).all())
    True
    """
    import numpy as np

    z = numbers * np.uint64(0x9E3779B97F4A7C15)
    z += np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


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
        return iter(self.rows().tolist())

    def rows(self) -> Tensor:
        """The epoch's rows as one tensor, which an iterator of numbers takes ten times the memory of."""
        return torch.randperm(self.count, generator=generator(self.seed, self.epoch))

    def __len__(self) -> int:
        return self.count
