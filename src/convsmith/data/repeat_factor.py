"""Repeat-factor sampling: rare classes are repeated by the square root of how rare they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor
from torch.utils.data import Sampler

from convsmith.catalog import technique
from convsmith.data.shuffle import generator


def repeat_factors(counts: Tensor, threshold: float) -> Tensor:
    """max(1, sqrt(threshold / f)) for each class's share f of the images; (K,) to (K,).

    >>> repeat_factors(torch.tensor([99, 1]), threshold=0.04)
    tensor([1., 2.], dtype=torch.float64)
    """
    shares = counts.double() / counts.sum()
    return (threshold / shares).sqrt().clamp_min(1)


@technique(
    "sampler",
    "repeat_factor",
    source="Gupta et al. 2019, LVIS, section on repeat factor sampling",
    chapter="11 不平衡样本 imbalance",
    use="long tails: rare classes more often, yet far from as often as common ones",
)
class RepeatFactor(Sampler[int]):
    """An image of a class with share f of the images comes r = max(1, sqrt(threshold / f)) times an epoch.

    What r has after the point is drawn anew each epoch, so that r is the mean over epochs.

    Args:
        targets: class of each row, (N,).
        seed: the run's seed.
        threshold: classes with a smaller share are repeated; None is 1 / K, the share in even data. (The
            paper's 0.001 is for 1,200 classes.)

    >>> len(RepeatFactor(torch.tensor([0] * 9 + [1]), seed=0))
    11
    """

    def __init__(
        self, targets: Tensor, seed: int, threshold: Annotated[float, Gt(0), Le(1)] | None = None
    ) -> None:
        counts = torch.bincount(targets)
        share = 1 / int((counts > 0).sum()) if threshold is None else threshold
        factors = repeat_factors(counts.clamp_min(1), share)[targets]
        self.count = round(float(factors.sum()))
        # The length of an epoch must not depend on the draw: the factors are stretched to a whole sum.
        self.factors = factors * (self.count / factors.sum())
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows().tolist())

    def rows(self) -> Tensor:
        """The epoch's rows as one tensor, which an iterator of numbers takes ten times the memory of."""
        draws = generator(self.seed, self.epoch)
        order = torch.randperm(len(self.factors), generator=draws)
        # Systematic rounding: each image floor or ceil of its factor, with the right mean, and a fixed sum.
        ends = (self.factors[order].cumsum(0) + torch.rand((), generator=draws).double()).floor().long()
        ends[-1] = self.count
        rows = order.repeat_interleave(ends.diff(prepend=ends.new_zeros(1)))
        return rows[torch.randperm(self.count, generator=draws)]
