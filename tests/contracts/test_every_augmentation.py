"""What holds for every augmentation."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convsmith import catalog
from convsmith.data.augment import Augment, build
from convsmith.data.batches import Batches, Split
from convsmith.data.geometry import compose
from convsmith.data.pixels import Decoded
from convsmith.data.shuffle import Shuffle, generator
from convsmith.nn.normalizer import Normalizer

EVERY = pytest.mark.parametrize("name", catalog.names("augmentation"))
FILES = [Path(f"/images/{number}.png") for number in range(30)]
FACTS: dict[str, Callable[[], Any]] = {
    "size": lambda: 16,
    "mean": lambda: torch.full((3,), 99.0),
    "files": lambda: FILES,
    "covariance": lambda: torch.eye(3) * 0.05 + 0.02,
}


@functools.cache
def maps() -> str:
    """What a first net would have seen, for guided crops."""
    file = Path(tempfile.mkdtemp()) / "maps.npz"
    np.savez(file, maps=np.eye(4, dtype=np.float16)[None].repeat(30, 0), files=[str(own) for own in FILES])
    return str(file)


def made(name: str, channels: int = 3) -> Any:
    facts = {**FACTS, "mean": lambda: torch.full((channels,), 99.0)}
    return build({name: {"maps": maps()} if name == "guided_crop" else {}}, **facts)[0]


def drawn(augmentation: Any, n: int, draws: torch.Generator) -> torch.Tensor:
    if hasattr(augmentation, "matrices"):
        return compose([augmentation], torch.arange(n) % 30, draws)
    found: torch.Tensor = augmentation.draw(n, draws)
    return found


@EVERY
def test_draws_repeat_with_the_seed(name: str) -> None:
    augmentation = made(name)
    first = drawn(augmentation, 50, generator(0, 1))
    assert len(first) == 50
    assert first.isfinite().all()
    assert first.equal(drawn(augmentation, 50, generator(0, 1)))
    assert not first.equal(drawn(augmentation, 50, generator(0, 2)))
    if hasattr(augmentation, "matrices"):
        assert torch.linalg.det(first.double()).abs().min() > 1e-6, "an image must stay an image"


def batches(augmentations: list[Any], channels: int = 3, **options: Any) -> Batches:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (30, 16, 16, channels), generator=draws, dtype=torch.uint8)
    targets = torch.arange(30) % 5
    return Batches(
        Split(Decoded(pixels, "memory"), torch.arange(30), targets),
        Normalizer(torch.full((channels,), 100.0), torch.full((channels,), 50.0)),
        batch_size=10,
        device=torch.device("cpu"),
        sampler=Shuffle(targets, seed=1),
        augment=Augment(augmentations, 5),
        **options,
    )


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_stay_in_the_range_of_pixels(name: str, channels: int) -> None:
    for batch in batches([made(name, channels)], channels).epoch(0):
        pixels = batch.images * 50 + 100
        assert batch.images.shape == (10, channels, 16, 16)
        assert pixels.min() >= -1e-3
        assert pixels.max() <= 255 + 1e-3


@EVERY
@pytest.mark.parametrize("crops", [1, 3])
def test_any_number_of_processes_sees_the_same_pictures(name: str, crops: int) -> None:
    if hasattr(made(name), "mix"):
        pytest.skip("partners are of the process's own share")
    alone = list(batches([made(name)], crops=crops).epoch(1))
    parts = [list(batches([made(name)], crops=crops, rank=rank, world=2).epoch(1)) for rank in (0, 1)]
    for whole, even, odd in zip(alone, *parts, strict=True):
        by_image = whole.images.unflatten(0, (-1, crops))
        assert torch.allclose(by_image[0::2].flatten(0, 1), even.images, atol=1e-4)
        assert torch.allclose(by_image[1::2].flatten(0, 1), odd.images, atol=1e-4)


@EVERY
def test_pixels_given_are_not_changed(name: str) -> None:
    made_batches = batches([made(name)])
    before = made_batches.split.store.pixels.clone()  # type: ignore[attr-defined]
    list(made_batches.epoch(0))
    assert made_batches.split.store.pixels.equal(before)  # type: ignore[attr-defined]


@pytest.mark.gpu
@EVERY
def test_the_gpu_makes_the_same_pictures(name: str) -> None:
    on_cpu = list(batches([made(name)]).epoch(0))
    gpu = batches([made(name)])
    gpu.device, gpu.normalizer = torch.device("cuda"), gpu.normalizer.to("cuda")
    gpu.targets = gpu.targets.cuda()
    for ours, theirs in zip(on_cpu, gpu.epoch(0), strict=True):
        # boxes are resized with antialiasing on the CPU, interpolated on the GPU
        tolerance = 0.5 if "crop" in name else 1e-2
        assert (ours.images - theirs.images.cpu()).abs().mean() < tolerance
