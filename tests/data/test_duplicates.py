"""Near copies: recall, and no false pair, among photographs, objects on white pages, and scans."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from convsmith.data import duplicates
from convsmith.data.duplicates import findings, limit, pairs
from convsmith.data.item import Item
from convsmith.data.pixels import Decoded
from convsmith.data.thumbnails import thumbnails, unlikeness

SIDE = 32


def photographs(n: int, seed: int = 0) -> Tensor:
    """Spectra of natural images: amplitude 1 / f (Field 1987)."""
    draws = torch.Generator().manual_seed(seed)
    f = torch.fft.fftfreq(SIDE)
    radius = (f[:, None] ** 2 + f**2).sqrt()
    radius[0, 0] = 1 / SIDE
    waves = torch.randn(n, SIDE, SIDE, generator=draws, dtype=torch.cfloat) / radius
    real = torch.fft.ifft2(waves).real
    real = (real - real.mean((1, 2), keepdim=True)) / real.std((1, 2), keepdim=True)
    return (128 + 45 * real).clamp(0, 255).round().to(torch.uint8)


def products(n: int) -> Tensor:
    """One object on a white page; its outline is one of a few, as of bottles or shoes."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    sizes = 0.5 + 0.1 * (torch.arange(n) % 4)
    inside = (x / sizes[:, None, None]) ** 2 + (y / 0.8) ** 2 < 1
    return torch.where(inside, photographs(n, seed=1).float() * 0.8, torch.tensor(255.0)).to(torch.uint8)


def scans(n: int) -> Tensor:
    """Strokes of a pen on paper."""
    draws = np.random.default_rng(2)
    found = np.zeros((n, SIDE, SIDE), np.uint8)
    for number in range(n):
        page = Image.new("L", (64, 64), 250)
        pen = ImageDraw.Draw(page)
        for _ in range(draws.integers(2, 6)):
            pen.line(draws.integers(8, 56, 6).tolist(), fill=int(draws.integers(0, 60)), width=4)
        found[number] = np.array(page.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return torch.from_numpy(found)


def compressed(images: Tensor) -> Tensor:
    def again(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=90)
        return np.array(Image.open(file))

    return torch.from_numpy(np.stack([again(image) for image in images.numpy()]))


def darker(images: Tensor) -> Tensor:
    return (images.float() * 0.8).round().to(torch.uint8)


def noisy(images: Tensor) -> Tensor:
    noise = 3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    return (images.float() + noise).clamp(0, 255).round().to(torch.uint8)


def small(images: Tensor) -> Tensor:
    store = Decoded(images[..., None], "memory")
    return thumbnails(store, torch.arange(len(images)))


@pytest.mark.parametrize("kind", [photographs, products, scans])
def test_copies_are_found_and_different_pictures_are_not_paired(kind: Callable[[int], Tensor]) -> None:
    n, k = 3000, 100
    images = kind(n)
    copies = [change(images[:k]) for change in (compressed, darker, noisy)]
    looks = small(torch.cat([images, *copies]))
    found = set(pairs(looks))
    groups = [*range(n), *range(k), *range(k), *range(k)]
    assert all(groups[a] == groups[b] for a, b in found), "no two pictures are taken for one"
    for number in range(3):
        seen = sum((a, n + number * k + a) in found for a in range(k))
        assert seen >= 0.99 * k


@pytest.mark.parametrize("kind", [photographs, products, scans])
def test_mirrored_copies_are_found_as_such(kind: Callable[[int], Tensor]) -> None:
    images = kind(1000)
    looks = small(torch.cat([images, compressed(images[:50].flip(2))]))
    assert pairs(looks, mirrored=True) == [(row, 1000 + row) for row in range(50)]
    assert pairs(looks) == []


def test_all_pairs_are_looked_at_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against comparing every pair; of thumbnails that all lie close together."""
    draws = torch.Generator().manual_seed(0)
    centers = torch.randn(20, 256, generator=draws)
    looks = centers[torch.randint(20, (200,), generator=draws)]
    looks = looks + 0.03 * torch.randn(200, 256, generator=draws)
    looks = looks.view(-1, 16, 16).to(torch.float16).flatten(1)
    rows = torch.combinations(torch.arange(200))
    distance = (looks[rows[:, 0]].float() - looks[rows[:, 1]].float()).norm(dim=1)
    alike = unlikeness(looks[rows[:, 0]], looks[rows[:, 1]])
    wanted = rows[(distance <= duplicates.FAR) & (alike <= limit(alike))].tolist()
    assert len(wanted) > 500
    assert pairs(looks) == [tuple(pair) for pair in wanted]
    monkeypatch.setattr(duplicates, "CELLS", 700)
    assert pairs(looks) == [tuple(pair) for pair in wanted]
    flipped = looks.view(-1, 16, 16).flip(2).flatten(1)
    mixed = torch.cat([looks[:100], flipped[100:]])
    turned = [tuple(pair) for pair in wanted if (pair[0] < 100) != (pair[1] < 100)]
    assert pairs(mixed, mirrored=True) == turned


def test_of_a_thousand_copies_each_has_its_nearest_and_memory_stays() -> None:
    """A camera that saw the same scene all night: pairs grow with the images, not with their square."""
    looks = small(noisy(photographs(1).expand(1000, SIDE, SIDE)))
    found = pairs(looks)
    assert {row for pair in found for row in pair} == set(range(1000))
    assert len(found) <= duplicates.CLOSE * 1000


def test_the_limit_is_where_different_pictures_are_not_expected() -> None:
    """Unlikeness of different pictures falls as a power: 10,000 pairs below 0.2 and x^6 leave none below the
    limit, in most draws; copies beside them don't move it."""
    draws = np.random.default_rng(0)
    missed = 0
    for _ in range(50):
        others = 0.2 * draws.random(10000) ** (1 / 6)
        copies = 0.005 * draws.random(200)
        found = limit(torch.from_numpy(np.concatenate([others, copies])).float())
        assert 0.015 < found < 0.06
        missed += (others <= found).sum()
    assert missed / 50 < 2
    assert limit(torch.tensor([0.01, 0.9, 1.0])) == duplicates.COPY, "others are far away"
    assert limit(torch.full((1000,), 0.06)) < 0.006, "others are as near as copies"
    assert limit(torch.full((10**6,), 0.06)) == duplicates.SURE


def test_what_is_said_of_copies() -> None:
    images = photographs(6)
    everything = torch.cat([images, images[:1], images[1:2].flip(2), images[2:3]])
    store = Decoded(everything[..., None], "memory")
    splits = ["train"] * 6 + ["val", "train", "train"]
    labels = ["a"] * 8 + ["b"]
    items = [Item(Path(f"{n}.png"), label, split) for n, (label, split) in enumerate(zip(labels, splits))]
    found = {finding.name: finding.seen for finding in findings(store, items)}
    assert found["near_duplicates_across"].startswith("1 pair of nearly equal pictures in two splits: 0.png")
    assert found["near_duplicates_labels"].startswith("1 pair of nearly equal pictures under two labels")
    assert "1 of them mirrored" in found["near_duplicates_within"]
    assert "1.png = 7.png" in found["near_duplicates_within"]
    assert findings(store, [Item(i.path, i.label, None) for i in items]) == []


def test_memory_of_thumbnails_is_half_a_kilobyte_an_image() -> None:
    class Noted:
        where = "memory"
        largest = 0

        def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
            for rows in batches:
                self.largest = max(self.largest, len(rows))
                yield torch.zeros(len(rows), 8, 8, 3, dtype=torch.uint8)

    store = Noted()
    looks = thumbnails(store, torch.arange(1000))
    assert looks.nbytes == 512 * 1000
    assert store.largest <= 256
    assert not looks.any(), "even images have no contrast"
