"""Whether images may be mirrored is found out from the images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith.advice.mirror import Mirrored, probe
from convsmith.data.batches import Split
from convsmith.data.pixels import Decoded


def split(pixels: np.ndarray, targets: list[int]) -> Split:
    store = Decoded(torch.from_numpy(pixels.astype(np.uint8)), "memory")
    return Split(store, torch.arange(len(pixels)), torch.tensor(targets))


def drawn(kind: str, images: int = 120, seed: int = 0) -> Split:
    """Noise with a bright bar: on the class's side, or in the class's height on either side."""
    draws = np.random.default_rng(seed)
    pixels = draws.integers(0, 80, (images, 16, 16, 3))
    targets = [number % 2 for number in range(images)]
    for number, target in enumerate(targets):
        side = target if kind == "sides" else int(draws.integers(2))
        columns = slice(1, 5) if side == 0 else slice(11, 15)
        rows = slice(0, 16) if kind == "sides" else (slice(0, 6) if target == 0 else slice(10, 16))
        pixels[number, rows, columns] += 90
    return split(pixels, targets)


def test_sides_are_not_mirrored_and_heights_are() -> None:
    for seed in range(5):
        sides, heights = probe(drawn("sides", seed=seed), 2), probe(drawn("heights", seed=seed), 2)
        assert sides is not None
        assert heights is not None
        assert sides.knows
        assert sides.loses
        assert sides.mirrored < 0.1 * sides.images, "a mirrored bar is the other class's"
        assert heights.knows
        assert not heights.loses


def test_noise_says_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (100, 16, 16, 1))
    found = probe(split(pixels, [number % 2 for number in range(100)]), 2)
    assert found is not None
    assert not found.knows
    assert probe(split(pixels[:9], [0, 1, 0, 1, 0, 1, 0, 1, 0]), 2) is None


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (5, 0),
        (6, 0),
        (7, 0),
        (12, 3),
        (14, 3),
        (300, 240),
        (300, 250),
        (0, 0),
        (3, 9),
        (900, 700),
        (900, 880),
    ],
)
def test_the_loss_is_mcnemars_exact_test(own: int, other: int) -> None:
    """Counted in whole numbers; from 1,024 images on no float holds them."""
    found = Mirrored(50, 50, own, other, 2000, 0.1)
    differ = own + other
    tail = sum(math.comb(differ, k) for k in range(own, differ + 1))
    assert found.loses == (differ > 0 and 100 * tail < 2**differ)


def test_the_advice_says_either_way(tmp_path: Path) -> None:
    """Characters in color, as in street signs, aren't mirrored because they have three channels."""
    for kind in ("sides", "heights"):
        own = drawn(kind)
        for number, pixels in enumerate(own.store.pixels):  # type: ignore[attr-defined]
            folder = tmp_path / kind / f"c{int(own.targets[number])}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    for kind, flips, words in (("sides", False, "left and right differ"), ("heights", True, "no loss")):
        found = cs.advise(tmp_path / kind, set=["train.device=cpu", "train.epochs=1"])
        assert ("flip: {}" in found["recipe"]) == flips
        assert words in found["reasons"]["data.augment"]
        assert "when they are mirrored" in found["reasons"]["data.augment"]
