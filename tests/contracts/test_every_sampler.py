"""What holds for every sampler."""

from __future__ import annotations

import pytest
import torch

from convsmith import catalog
from convsmith.data.batches import Batches, Split
from convsmith.data.pixels import Decoded
from convsmith.nn.normalizer import Normalizer


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


@pytest.mark.parametrize("name", catalog.names("sampler"))
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_an_epoch_without_overlap(name: str, world: int) -> None:
    """Together they see exactly the order of one process, each place of it once."""
    targets = torch.tensor([0] * 50 + [1] * 9 + [2] * 4)
    pixels = torch.arange(63, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 1).contiguous()
    split = Split(Decoded(pixels, "memory"), torch.arange(63), targets)

    def seen(rank: int, world: int) -> list[list[int]]:
        sampler = catalog.build("sampler", name, targets=targets, seed=5)
        batches = Batches(
            split,
            Normalizer(torch.zeros(1), torch.ones(1)),
            batch_size=8,
            device=torch.device("cpu"),
            sampler=sampler,
            rank=rank,
            world=world,
        )
        return [batch.images[:, 0, 0, 0].int().tolist() for batch in batches.epoch(3)]

    alone = seen(0, 1)
    shares = [seen(rank, world) for rank in range(world)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert sorted(whole) == sorted(row for part in parts for row in part)
        for rank, part in enumerate(parts):
            assert part == whole[rank::world]


@pytest.mark.parametrize("name", catalog.names("sampler"))
def test_every_image_is_seen_within_some_epochs(name: str) -> None:
    """Nothing is thrown away; draws with replacement take a little longer."""
    targets = torch.tensor([0] * 50 + [2] * 4)
    sampler = catalog.build("sampler", name, targets=targets, seed=5)
    seen: set[int] = set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        seen |= set(sampler)
    assert seen == set(range(54))


@pytest.mark.parametrize("name", catalog.names("sampler"))
def test_the_order_in_one_piece_is_the_iterators(name: str) -> None:
    """Batches read the tensor; torch's own loaders, and foreign samplers, go through the iterator."""
    targets = torch.tensor([3] * 50 + [1] * 9 + [0] * 4)  # no image of class 2
    split = Split(Decoded(torch.zeros(63, 1, 1, 1, dtype=torch.uint8), "memory"), torch.arange(63), targets)
    sampler = catalog.build("sampler", name, targets=targets, seed=5)

    class Foreign(torch.utils.data.Sampler[int]):
        set_epoch, __iter__, __len__ = sampler.set_epoch, sampler.__iter__, sampler.__len__

    for epoch in (0, 7):
        orders = [
            Batches(
                split,
                Normalizer(torch.zeros(1), torch.ones(1)),
                batch_size=8,
                device=torch.device("cpu"),
                sampler=own,
            ).order(epoch)
            for own in (sampler, Foreign())
        ]
        assert orders[0].tolist() == list(sampler) == orders[1].tolist()
        assert orders[0].dtype == torch.int64
