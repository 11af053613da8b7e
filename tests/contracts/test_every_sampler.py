"""What holds for every sampler."""

from __future__ import annotations

import pytest
import torch

from convsmith import catalog


@pytest.mark.parametrize("name", catalog.names("sampler"))
def test_order_is_a_function_of_seed_and_epoch(name: str) -> None:
    targets = torch.arange(60) % 4

    def order(seed: int, epoch: int) -> list[int]:
        sampler = catalog.build("sampler", name, targets=targets, seed=seed)
        sampler.set_epoch(epoch)
        rows = list(sampler)
        assert len(rows) == len(sampler)
        assert set(rows) <= set(range(60))
        return rows

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
