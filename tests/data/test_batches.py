from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convsmith.data.augment import Augment
from convsmith.data.batches import Batches, Split
from convsmith.data.color import Brightness
from convsmith.data.geometry import Crop, Flip, Rotate
from convsmith.data.picture import sized
from convsmith.data.pixels import Decoded, OnTheFly
from convsmith.data.shuffle import Shuffle
from convsmith.nn.normalizer import Normalizer

CPU = torch.device("cpu")
PLAIN = Normalizer(torch.zeros(3), torch.ones(3))


def split(count: int, size: int = 6) -> Split:
    """Image i is filled with the number i."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, size, size, 3).contiguous()
    return Split(Decoded(pixels, "memory"), torch.arange(count), torch.arange(count) % 7)


def batches(count: int, batch_size: int, **options: object) -> Batches:
    part = split(count)
    sampler = Shuffle(part.targets, seed=3)
    return Batches(part, PLAIN, batch_size=batch_size, device=CPU, sampler=sampler, **options)  # type: ignore[arg-type]


@given(
    count=st.integers(2, 200), batch_size=st.integers(1, 64), world=st.integers(1, 4), epoch=st.integers(0, 3)
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_sees_every_image_once_over_all_processes(
    count: int, batch_size: int, world: int, epoch: int
) -> None:
    seen: list[int] = []
    per_process = []
    for rank in range(world):
        made = list(batches(count, batch_size, rank=rank, world=world).epoch(epoch))
        seen += [int(image[0, 0, 0]) for batch in made for image in batch.images]
        per_process.append([batch.count for batch in made])
        for batch in made:
            assert (batch.targets == batch.images[:, 0, 0, 0].long() % 7).all()
    assert sorted(seen) == list(range(count))
    whole = [sum(counts) for counts in zip(*per_process, strict=True)]
    pairs = 2 * world
    assert max(whole) - min(whole) <= 1
    if batch_size >= pairs and count >= pairs:
        # One image of a process has no statistics to normalize by; for that a batch may be a few larger.
        assert min(min(counts) for counts in per_process) >= 2
        assert max(whole) < max(batch_size + 1, 2 * pairs)
    else:
        assert max(whole) <= batch_size


def test_shares_make_the_mean_over_processes_the_mean_over_images() -> None:
    values = torch.rand(100, dtype=torch.float64)
    for world in (1, 2, 3):
        parts = [list(batches(100, 30, rank=rank, world=world).epoch(0)) for rank in range(world)]
        for shards in zip(*parts, strict=True):
            rows = [shard.images[:, 0, 0, 0].long() for shard in shards]
            mean_of_shards = sum(values[r].mean() * s.share for r, s in zip(rows, shards)) / world
            assert mean_of_shards == pytest.approx(values[torch.cat(rows)].mean().item(), abs=1e-12)


def test_epochs_differ_and_repeat() -> None:
    made = batches(50, 8, augment=Augment([Flip(), Crop(pad=2)]))
    first = torch.cat([batch.images for batch in made.epoch(0)])
    second = torch.cat([batch.images for batch in made.epoch(1)])
    again = torch.cat(
        [batch.images for batch in batches(50, 8, augment=Augment([Flip(), Crop(pad=2)])).epoch(0)]
    )
    assert not first.equal(second)
    assert first.equal(again)


def test_an_epoch_goes_on_in_the_middle() -> None:
    made = batches(50, 8, augment=Augment([Crop(pad=2)]))
    whole = list(made.epoch(2))
    rest = list(made.epoch(2, first=4))
    assert len(rest) == len(whole) - 4
    for a, b in zip(rest, whole[4:]):
        assert a.images.equal(b.images)
        assert a.targets.equal(b.targets)
        assert a.share == b.share
    assert list(made.epoch(2, first=len(whole))) == [], "killed after the last batch, before the epoch's end"


def test_augmentation_does_not_depend_on_the_number_of_processes() -> None:
    alone = list(batches(40, 10, augment=Augment([Flip(), Crop(pad=3)])).epoch(1))
    two = [
        list(batches(40, 10, augment=Augment([Flip(), Crop(pad=3)]), rank=r, world=2).epoch(1))
        for r in (0, 1)
    ]
    for whole, even, odd in zip(alone, *two):
        assert whole.images[0::2].equal(even.images)
        assert whole.images[1::2].equal(odd.images)


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_format(channels_last: bool) -> None:
    batch = next(iter(batches(20, 5, channels_last=channels_last).epoch(0)))
    fmt = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.images.is_contiguous(memory_format=fmt)
    assert batch.images.dtype == torch.float32


def test_normalizer_takes_mean_pixel_and_mean_image() -> None:
    pixels = torch.randint(0, 256, (4, 5, 6, 3), dtype=torch.uint8)
    std = torch.tensor([10.0, 20, 30])
    for mean in (torch.tensor([1.0, 2, 3]), torch.rand(5, 6, 3)):
        expected = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
        assert torch.allclose(Normalizer(mean, std)(pixels), expected)


def test_a_sample_is_plain_in_order_and_at_the_nets_size() -> None:
    """Images are stored at 12 pixels, since crops of 8 are cut from them."""
    pixels = torch.randint(0, 256, (24, 12, 12, 3), dtype=torch.uint8)
    part = Split(Decoded(pixels, "memory"), torch.arange(24).flip(0)[:20], torch.arange(20))
    augment = Augment([Flip(), Brightness()], size=8)
    made = Batches(
        part, PLAIN, batch_size=7, device=CPU, sampler=Shuffle(part.targets, seed=1), augment=augment
    )
    few = made.sample(4)
    images = torch.cat([batch.images for batch in few.epoch(0)])
    targets = torch.cat([batch.targets for batch in few.epoch(0)])
    assert targets.tolist() == [0, 6, 12, 19]
    wanted = PLAIN(sized(pixels[[23, 17, 11, 4]], 8))
    torch.testing.assert_close(images, wanted)
    everything = torch.cat([batch.targets for batch in made.in_order(plain=True).epoch(0)])
    assert everything.tolist() == list(range(20))
    assert len(torch.cat([batch.images for batch in made.in_order().epoch(0)])) == 20


def test_workers_see_the_same_pictures(tmp_path: Path) -> None:
    """Decoded on the fly by two workers, or from memory: draws are of the batch, not of a worker."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 8, 8, 3), generator=draws, dtype=torch.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(24)]
    for path, image in zip(paths, pixels):
        Image.fromarray(image.numpy()).save(path)
    seen = []
    for store in (Decoded(pixels, "memory"), OnTheFly(paths, 8, 3, workers=2)):
        part = Split(store, torch.arange(24), torch.zeros(24, dtype=torch.long))
        augment = Augment([Flip(), Rotate(40), Brightness()])
        order = Shuffle(part.targets, seed=1)
        made = Batches(part, PLAIN, batch_size=7, device=CPU, sampler=order, augment=augment)
        seen.append(torch.cat([batch.images for batch in made.epoch(2)]))
    assert seen[0].equal(seen[1])
