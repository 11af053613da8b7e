from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from convsmith.data.repeat_factor import RepeatFactor


def test_an_image_comes_as_often_as_its_class_is_rare() -> None:
    """Shares 0.8, 0.15, 0.05 and threshold 0.4: factors 1, sqrt(0.4/0.15), sqrt(8)."""
    targets = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)
    wanted = [1.0, math.sqrt(0.4 / 0.15), math.sqrt(8)]
    sampler = RepeatFactor(targets, seed=0, threshold=0.4)
    epochs = 400
    seen: Counter[int] = Counter()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        rows = Counter(sampler)
        assert sum(rows.values()) == len(sampler) == round(80 + 15 * wanted[1] + 5 * wanted[2])
        for row, factor in enumerate(sampler.factors.tolist()):
            assert rows[row] in (math.floor(factor), math.ceil(factor))
        seen.update(rows)
    for label, factor in enumerate(wanted):
        mean = (
            sum(seen[row] for row in range(100) if targets[row] == label) / epochs / (targets == label).sum()
        )
        # the sum is rounded to a whole number, which stretches the factors by less than half an image
        assert mean == pytest.approx(factor, rel=0.01)


def test_even_classes_are_left_alone() -> None:
    sampler = RepeatFactor(torch.arange(40) % 4, seed=0)
    assert sorted(sampler) == list(range(40))
