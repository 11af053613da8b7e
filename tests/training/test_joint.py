"""Selective joint fine-tuning: which source images are near, and that both tasks are learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import convsmith as cs
from convsmith.data.batches import Split
from convsmith.data.opened import open_data
from convsmith.data.pixels import Decoded
from convsmith.nn.patterns import gabor
from convsmith.recipe import Data
from convsmith.run.directory import RunDirectory
from convsmith.training import joint
from convsmith.training.joint import SourceTask, described, nearest


def waves(root: Path, lengths: dict[str, float], images: int, seed: int) -> Path:
    """Classes of stripes by their wavelength and direction."""
    draws = np.random.default_rng(seed)
    for number, (label, length) in enumerate(lengths.items()):
        folder = root / label
        folder.mkdir(parents=True)
        for n in range(images):
            phase = draws.random() + np.arange(24) / length
            wave = np.sin(2 * np.pi * phase)
            wave = np.broadcast_to(wave if number % 2 else wave[:, None], (24, 24))
            pixels = 128 + 70 * wave + draws.normal(0, 15, (24, 24))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{n}.png")
    return root


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 4), st.integers(0, 99))
def test_nearest_is_the_symmetric_divergence(targets: int, sources: int, neighbors: int, seed: int) -> None:
    """Against the formula, pair by pair."""
    draws = torch.Generator().manual_seed(seed)
    p, q = (torch.rand(n, 3, 4, generator=draws) for n in (targets, sources))
    p, q = p / p.sum(2, keepdim=True), q / q.sum(2, keepdim=True)
    chosen = set()
    for own in p.double() + 1e-6:
        distances = [float(((own - o) * (own.log() - o.log())).sum()) for o in q.double() + 1e-6]
        chosen |= set(np.argsort(distances)[: min(neighbors, sources)].tolist())
    assert set(nearest(p, q, neighbors).tolist()) == chosen


def test_images_of_the_same_texture_are_near(tmp_path: Path) -> None:
    source = waves(tmp_path / "source", {"a": 3.0, "b": 4.0, "c": 8.0, "d": 11.0}, 10, seed=0)
    target = waves(tmp_path / "target", {"e": 8.0, "f": 11.0}, 6, seed=1)
    wealthy, poor = open_data(Data(path=str(source))), open_data(Data(path=str(target)))
    # e is along y as a and c are, f along x as b and d.
    chosen = nearest(described(poor.train), described(wealthy.train), 3)
    labels = {wealthy.classes[int(wealthy.train.targets[row])] for row in chosen}
    assert labels == {"c", "d"}


@pytest.mark.slow
def test_both_tasks_are_learned(tmp_path: Path) -> None:
    source = waves(tmp_path / "source", {"a": 3.0, "b": 4.0, "c": 8.0, "d": 11.0}, 20, seed=0)
    target = waves(tmp_path / "target", {"e": 7.0, "f": 9.0}, 10, seed=1)
    net = ["model={resnet20: {width: 4}}", "data.augment={}"]
    cs.train(source, out=tmp_path / "wealthy", set=[*net, "train.epochs=5"])
    words = [f"train.finetune.joint.source={source}", "train.finetune.joint.neighbors=5", "train.epochs=25"]
    found = cs.train(
        target, out=tmp_path / "run", start_from=str(tmp_path / "wealthy"), set=[*words, "data.augment={}"]
    )
    rows = RunDirectory(tmp_path / "run").read_metrics()
    assert rows[-1]["train_source_task"] < 0.5 * rows[1]["train_source_task"]
    assert rows[-1]["train_loss"] == pytest.approx(rows[-1]["train_cross_entropy"]), "the other task aside"
    assert found["accuracy"] > 0.7
    said = " ".join(finding["seen"] for finding in found["findings"])
    assert "source images are learned beside the target's" in said
    assert not any("source_task" in key for key in cs.load(tmp_path / "run").model.state_dict())


def test_refusals(tmp_path: Path, images: Path) -> None:
    cs.train(images, out=tmp_path / "run", model="lenet5", set=["train.epochs=1"])
    with pytest.raises(cs.UserError, match="finetune joint needs the source's images"):
        cs.train(images, out=tmp_path / "a", start_from=str(tmp_path / "run"), set=["train.finetune=joint"])
    grey = waves(tmp_path / "grey", {"a": 3.0, "b": 4.0}, 5, seed=0)
    with pytest.raises(cs.UserError, match="can't be learned beside 3-channel images: it has 1 channels"):
        cs.train(
            images,
            out=tmp_path / "b",
            start_from=str(tmp_path / "run"),
            set=[f"train.finetune.joint.source={grey}"],
        )


def histograms(pixels: np.ndarray) -> np.ndarray:
    """Of every place of each image, by scipy, an image and a filter at a time."""
    found = np.zeros((len(pixels), 24, 16))
    edges = np.concatenate([[-np.inf], np.linspace(-2, 2, 15), [np.inf]])
    for number, image in enumerate(pixels.astype(float).mean(3)):
        image = (image - image.mean()) / (image.std(ddof=1) + 1)
        kernels = [gabor(11, 30 * turn, wavelength=w).numpy() for w in (3, 4.5, 6, 9) for turn in range(6)]
        for place, kernel in enumerate(kernels):
            answer = scipy.ndimage.correlate(image, kernel / np.linalg.norm(kernel), mode="mirror")
            found[number, place] = np.histogram(answer, edges)[0] / answer.size
    return found


def split_of(pixels: np.ndarray) -> Split:
    n = len(pixels)
    return Split(Decoded(torch.from_numpy(pixels), "memory"), torch.arange(n), torch.zeros(n))


def striped(side: int, length: float, n: int, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed)
    phase = np.arange(side) / length + draws.random((n, 1))
    wave = 128 + 60 * np.sin(2 * np.pi * phase)[:, :, None, None]
    return (wave + draws.normal(0, 10, (n, side, side, 3))).clip(0, 255).astype(np.uint8)


def test_small_images_are_described_at_every_place() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 20, 3), dtype=np.uint8)
    found = described(split_of(pixels)).numpy()
    assert np.abs(found - histograms(pixels)).max() < 2 / 400, "but for a place on the border of two bins"


@pytest.mark.parametrize("length", [6.0, 7.0, 9.0])
def test_large_images_are_described_at_some_places(length: float) -> None:
    """Whatever the phase of a wave, even one as long as the cells are (224 / 32 = 7)."""
    pixels = striped(224, length, 2, seed=1)
    found, exact = described(split_of(pixels)).numpy(), histograms(pixels)
    assert np.abs(found - exact).max() < 5 * np.sqrt(0.25 / 1024)
    assert np.abs(found - exact).sum(2).mean() < 0.2


def test_light_is_no_matter() -> None:
    """A darker picture of half the contrast is the same texture."""
    bright = np.random.default_rng(0).integers(60, 256, (4, 24, 24, 1), dtype=np.uint8)
    dark = (bright // 2 + 10).astype(np.uint8)
    a, b = described(split_of(bright)), described(split_of(dark))
    other = described(split_of(striped(24, 9.0, 4, seed=0)))
    assert (a - b).abs().sum(2).mean() < 0.1 * (a - other).abs().sum(2).mean()


def test_nearest_in_blocks_is_nearest_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(0)
    p, q = torch.rand(23, 3, 4, generator=draws), torch.rand(61, 3, 4, generator=draws)
    p, q = p / p.sum(2, keepdim=True), q / q.sum(2, keepdim=True)
    whole = nearest(p, q, 5)
    monkeypatch.setattr(joint, "BLOCK", 4)  # fewer than are looked for
    assert nearest(p, q, 5).equal(whole)


def test_histograms_that_hardly_differ_are_told_apart() -> None:
    """float32 has digits enough: the source's images differ by a millionth in one bin."""
    p = torch.full((1, 24, 16), 1 / 16)
    q = p.repeat(50, 1, 1)
    for number in range(50):
        q[number, 3, 2] += 1e-3 * (number + 1)
        q[number, 3, 5] -= 1e-3 * (number + 1)
    assert nearest(p, q, 7).tolist() == list(range(7))


def term(source: Path, target: Path, **options: float) -> SourceTask:
    torch.manual_seed(0)
    dataset = open_data(Data(path=str(target)))
    device = torch.device("cpu")
    return SourceTask(dataset, 6, 8, device, 0, source=str(source), neighbors=2, **options)


def test_the_terms_images_are_the_nearest_and_its_weight_counts(tmp_path: Path) -> None:
    source = waves(tmp_path / "source", {"a": 3.0, "b": 4.0, "c": 8.0, "d": 11.0}, 10, seed=0)
    target = waves(tmp_path / "target", {"e": 8.0, "f": 11.0}, 6, seed=1)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    plain, heavy = term(source, target), term(source, target, weight=3.0)
    wealthy = open_data(Data(path=str(source)))
    names = [wealthy.classes[int(label)] for label in plain.images.split.targets]
    assert set(names) == {"c", "d"}
    assert len(names) < 16, "two each of ten, at most"
    values = []
    for own in (plain, heavy):
        torch.manual_seed(5)
        values.append(own(net))
    assert values[1].item() == pytest.approx(3 * values[0].item())
    assert plain.eval()(net).item() == 0
