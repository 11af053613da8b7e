"""What advise sees in images: near copies, doubtful labels, similarity, time and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_images
from torch import nn

from convsmith.advice import duplicates, labels
from convsmith.advice.machine import estimate
from convsmith.advice.similarity import Similarity, probed, similarity
from convsmith.data.layout import Item
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


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_wrong_labels_are_suspected_and_right_ones_not(noise: float) -> None:
    digits = load_digits()
    draws = np.random.default_rng(0)
    wrong = draws.random(len(digits.target)) < noise
    given = np.where(wrong, (digits.target + draws.integers(1, 10, len(wrong))) % 10, digits.target)
    posteriors = probed(digits.data, given, 0)
    doubted = labels.suspects(posteriors, given)
    items = [Item(Path(f"{n}.png"), str(label), "train") for n, label in enumerate(given)]
    found = labels.findings(digits.data, given, items)
    if noise == 0:
        assert found == []
        return
    assert wrong[doubted].mean() > 0.85, "most suspects are wrong"
    assert doubted[wrong].mean() > 0.7, "most wrong ones are suspects"
    assert found[0].name == "label_noise"
    named = [
        int(name.strip().removesuffix(".png")) for name in found[0].seen.partition("most ")[2].split(",")
    ]
    assert wrong[named].all()


def test_suspects_by_their_definition() -> None:
    posteriors = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.9, 0.1]])
    given = np.array([0, 0, 1, 1, 1])
    # Class 0 usually has 0.85, class 1 has 0.6: the last image has 0.9 for class 0.
    assert labels.suspects(posteriors, given).tolist() == [False, False, False, False, True]


def test_a_probe_that_knows_nothing_accuses_nobody() -> None:
    draws = np.random.default_rng(0)
    given = np.repeat(np.arange(4), 50)
    items = [Item(Path(f"{n}.png"), str(label), "train") for n, label in enumerate(given)]
    assert labels.findings(draws.normal(size=(200, 8)), given, items) == []


def test_images_are_unlike_a_sources_where_its_last_stage_loses_their_classes() -> None:
    draws = np.random.default_rng(0)
    targets = np.repeat(np.arange(5), 40)
    clear = np.eye(5)[targets] + 0.05 * draws.normal(size=(200, 5))
    noise = draws.normal(size=(200, 5))
    unlike = similarity(noise, clear, targets)
    assert unlike is not None
    assert (unlike.before, unlike.images) == (1.0, 200)
    assert unlike.last < 0.35
    assert not unlike.similar
    assert similarity(clear, noise, targets).similar
    assert similarity(clear, clear, targets).similar
    assert similarity(clear[:3], clear[:3], np.array([0, 1, 2])) is None, "one image a class"
    # A difference within a standard error, sqrt(0.8 * 0.2 / 100) = 4%, says nothing.
    assert Similarity(0.77, 0.8, 100).similar
    assert not Similarity(0.75, 0.8, 100).similar


def test_an_estimate_counts_what_is_kept_and_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(100, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 10))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    batch = torch.randn(32, 100)
    found = estimate(net, batch, updates=1000)
    weights = 4 * sum(p.numel() for p in net.parameters())
    least = 3 * weights + 4 * 32 * (100 + 50 + 50)
    assert least <= found.memory <= 3 * least
    assert found.seconds == pytest.approx(1000 * found.step_seconds)
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
