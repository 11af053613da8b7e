"""What advise sees in images: near copies, doubtful labels, similarity, time and memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images
from torch import nn

from convsmith.advice.machine import estimate
from convsmith.data import duplicates
from convsmith.data.opened import open_data
from convsmith.recipe import Data


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of two photographs; of one in train also a smaller, a darker and a JPEG copy elsewhere."""
    root = tmp_path_factory.mktemp("photos")
    for label, photo in zip(("china", "flower"), load_sample_images().images):
        for split, first in (("train", 0), ("val", 6)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(first, first + 6):
                y, x = 25 * number, 35 * number
                Image.fromarray(photo[y : y + 120, x : x + 120]).save(folder / f"{number}.png")
    original = Image.open(root / "train/china/0.png")
    original.resize((80, 80)).save(root / "val/china/small.png")
    ImageEnhance.Brightness(original).enhance(0.8).save(root / "train/china/dark.png")
    original.save(root / "train/flower/lossy.jpg", quality=60)
    return root


def test_copies_are_found_and_nothing_else(photos: Path) -> None:
    dataset = open_data(Data(path=str(photos), size=64))
    found = {finding.name: finding.seen for finding in duplicates.findings(dataset.store, dataset.items)}
    assert set(found) == {f"near_duplicates_{kind}" for kind in ("across", "labels", "within")}
    assert found["near_duplicates_across"].startswith("3 pairs")  # small with each of the other three
    assert found["near_duplicates_labels"].startswith("3 pairs")  # lossy with each of the other three
    assert found["near_duplicates_within"].startswith("3 pairs")  # 0, dark and lossy are in train
    assert "small.png" in found["near_duplicates_across"]


def test_an_estimate_counts_what_is_kept_and_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(100, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 10))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    batch = torch.randn(32, 100)
    found = estimate(net, batch, updates=1000)
    weights = 4 * sum(p.numel() for p in net.parameters())
    least = 3 * weights + 4 * 32 * (100 + 50 + 50)
    assert least <= found.memory <= 3 * least
    assert 0 < found.step_seconds < 10
    assert found.seconds == pytest.approx(1000 * found.step_seconds)
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
