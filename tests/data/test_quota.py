from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from convsmith.data.quota import Quota, over_sampling, over_under_sampling, under_sampling


def targets_of(sizes: list[int], seed: int = 0) -> torch.Tensor:
    targets = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))]


SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=5)


@given(sizes=SIZES, quota=st.integers(1, 60), seed=st.integers(0, 5))
def test_no_image_comes_again_before_all_of_its_class_came(sizes: list[int], quota: int, seed: int) -> None:
    targets = targets_of(sizes)
    sampler = Quota(targets, seed, quota)
    seen: Counter[int] = Counter()
    for epoch in range(4):
        sampler.set_epoch(epoch)
        rows = list(sampler)
        assert torch.bincount(targets[rows], minlength=len(sizes)).tolist() == [quota] * len(sizes)
        seen.update(rows)
        for label in range(len(sizes)):
            counts = [seen[row] for row in (targets == label).nonzero().flatten().tolist()]
            assert max(counts) - min(counts) <= 1


@given(sizes=SIZES, batch=st.integers(1, 30))
def test_every_batch_is_controlled(sizes: list[int], batch: int) -> None:
    """In any stretch of the order each class has its share, give or take one image."""
    targets = targets_of(sizes)
    order = targets[list(under_sampling(targets, seed=1))]
    for start in range(0, len(order) - batch + 1):
        counts = torch.bincount(order[start : start + batch], minlength=len(sizes))
        assert counts.min() >= batch // len(sizes) - 1
        assert counts.max() <= -(-batch // len(sizes)) + 1


def test_under_sampling_discards_nothing() -> None:
    """100 images against 7: fifteen epochs of 7 have seen them all."""
    targets = targets_of([100, 7])
    sampler = under_sampling(targets, seed=0)
    assert len(sampler) == 14
    seen: set[int] = set()
    for epoch in range(15):
        sampler.set_epoch(epoch)
        seen |= set(sampler)
    assert seen == set(range(107))


def test_over_sampling_repeats_small_classes_alike() -> None:
    targets = targets_of([10, 4, 1])
    counts = Counter(over_sampling(targets, seed=0))
    per_class = [sorted(counts[row] for row in (targets == k).nonzero().flatten().tolist()) for k in range(3)]
    assert per_class == [[1] * 10, [2, 2, 3, 3], [10]]


@pytest.mark.parametrize(("share", "quota"), [(0.0, 4), (0.5, 20), (1.0, 100)])
def test_both_lies_between(share: float, quota: int) -> None:
    """sqrt(4 * 100) = 20."""
    assert over_under_sampling(targets_of([100, 4]), seed=0, share=share).quota == quota


def test_rounds_are_shuffled_evenly_and_each_anew() -> None:
    """Over many rounds of a class of three, all six orders come equally often, whatever came before."""
    sampler = Quota(torch.tensor([0, 0, 0]), seed=4, quota=3 * 6000)
    rounds = sampler.rows().view(-1, 3)
    numbers = (rounds * torch.tensor([9, 3, 1])).sum(1).unique(return_inverse=True)[1]
    assert chisquare(torch.bincount(numbers, minlength=6)).pvalue > 1e-3
    pairs = numbers[:-1] * 6 + numbers[1:]
    assert chisquare(torch.bincount(pairs, minlength=36)).pvalue > 1e-3
    other = Quota(torch.tensor([0, 0, 0, 1, 1, 1]), seed=4, quota=300).rows()
    zero, one = other[other < 3], other[other >= 3] - 3
    assert (zero == one).float().mean() < 0.5, "classes have draws of their own"
