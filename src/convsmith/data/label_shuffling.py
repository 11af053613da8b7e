"""Label shuffling: one random list as long as the largest class, read by every class modulo its size."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from convsmith.catalog import technique
from convsmith.data.shuffle import by_class, generator


@technique(
    "sampler",
    "label_shuffling",
    source="Yang, in Hikvision's entry to ImageNet 2016 (scene classification)",
    chapter="11 不平衡样本 imbalance",
    use="as over_sampling, where class lists are long: only one list of indices is shuffled for each class",
)
class LabelShuffling(Sampler[int]):
    """K times n_max images an epoch: for each class a shuffled 0 .. n_max - 1, modulo the class's size.

    Every image of a class of n is seen floor or ceil(n_max / n) times; the whole list is shuffled again.

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.

    >>> sorted(LabelShuffling(torch.tensor([0, 0, 1]), seed=0))
    [0, 1, 2, 2]
    """

    def __init__(self, targets: Tensor, seed: int) -> None:
        self.groups = by_class(targets)
        self.longest = max(map(len, self.groups))
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.longest * len(self.groups)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows().tolist())

    def rows(self) -> Tensor:
        """The epoch's rows as one tensor, which an iterator of numbers takes ten times the memory of."""
        draws = generator(self.seed, self.epoch)
        table = torch.empty(len(self.groups), self.longest, dtype=torch.long)
        for group, line in zip(self.groups, table):
            line.copy_(group[torch.randperm(self.longest, generator=draws) % len(group)])
        return table.flatten()[torch.randperm(table.numel(), generator=draws)]
