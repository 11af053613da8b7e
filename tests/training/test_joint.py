"""Selective joint fine-tuning: which source images are near, and that both tasks are learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import convsmith as cs
from convsmith.data.opened import open_data
from convsmith.recipe import Data
from convsmith.run.directory import RunDirectory
from convsmith.training.joint import described, nearest


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


def test_both_tasks_are_learned(tmp_path: Path) -> None:
    source = waves(tmp_path / "source", {"a": 3.0, "b": 4.0, "c": 8.0, "d": 11.0}, 20, seed=0)
    target = waves(tmp_path / "target", {"e": 7.0, "f": 9.0}, 10, seed=1)
    net = ["model={resnet20: {width: 4}}", "data.augment={}"]
    cs.train(source, out=tmp_path / "wealthy", set=[*net, "train.epochs=5"])
    words = [f"train.finetune.joint.source={source}", "train.finetune.joint.neighbors=5", "train.epochs=15"]
    found = cs.train(
        target, out=tmp_path / "run", start_from=str(tmp_path / "wealthy"), set=[*words, "data.augment={}"]
    )
    rows = RunDirectory(tmp_path / "run").read_metrics()
    assert rows[-1]["train_source_task"] < 0.5 * rows[0]["train_source_task"]
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
