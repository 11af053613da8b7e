"""What a training says before and while it runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import convsmith as cs
from conftest import make_images
from convsmith.verbs import progress


def test_a_training_says_what_it_trains_and_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MEASURED", 0.0)
    data = make_images(tmp_path / "data", classes=3, images=20)
    words = ["data.augment={}", "train.device=cpu", "data.batch_size=8"]
    first = tmp_path / "first"
    cs.train(data, out=first, set=["model={resnet20: {width: 4}}", *words], epochs=2, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "resnet20, from random weights"
    assert "for 2 epochs; Ctrl-C ends the training early" in lines[1]
    assert lines[2].startswith("epoch   1/2")
    other = make_images(tmp_path / "other", classes=2, images=20, seed=1)
    cs.train(other, out=tmp_path / "second", start_from=str(first), set=words, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"resnet20, from {first}"
    way = "fine-tuning: head, solved at once: the classifier alone has about "
    assert lines[1].startswith((way, "fine-tuning: all stages, "))


def test_an_epoch_still_to_come_counts_with_its_validation() -> None:
    state = SimpleNamespace(epochs=4, epoch=1, train=range(10), val=range(6))
    assert progress.expected(state, 2.0).startswith("about 72 seconds for 3 epochs")
