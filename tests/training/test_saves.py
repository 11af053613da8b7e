"""Saves take a share of the time, and a run that dies between two of them ends as one that didn't."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import convsmith as cs
from convsmith.run.directory import RunDirectory
from convsmith.training import callbacks
from convsmith.training.loop import Fit

WORDS = ["train.device=cpu", "data.batch_size=12", "optimizer.sgd.lr=0.02", "train.epochs=30", "model=lenet5"]


def figures(run: Path) -> list[dict[str, float]]:
    timed = ("seconds", "images_per_second")
    return [{k: v for k, v in row.items() if k not in timed} for row in RunDirectory(run).read_metrics()]


class Slow:
    """Makes each checkpoint cost as much as a large net's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.saves = 0
        save = callbacks.checkpoint.save

        def slow(*given: Any) -> None:
            self.saves += 1
            time.sleep(seconds)
            save(*given)

        monkeypatch.setattr(callbacks.checkpoint, "save", slow)


def test_short_epochs_share_a_save_and_the_best_net_is_kept(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 epochs of milliseconds: the first is saved, and the end; what is kept is the best epoch's all the
    same.
    """
    slow = Slow(monkeypatch, 0.2)
    kept: dict[str, torch.Tensor] = {}

    class Watch:
        def on_improvement(self, state: Fit) -> None:
            kept.update({name: value.clone() for name, value in state.model.state_dict().items()})

        def on_finish(self, state: Fit) -> None:
            kept["last"] = state.model.fc.bias.detach().clone()

    run = cs.train(images, out=tmp_path / "run", set=WORDS, callbacks=[Watch()])
    assert slow.saves == 2
    assert len(figures(tmp_path / "run")) == 30
    written = load_file(tmp_path / "run/model.safetensors")
    for name, value in kept.items():
        if name != "last":
            assert any(value.equal(tensor) for tensor in written.values()), name
    assert run["best_epoch"] <= 30


@pytest.mark.slow
def test_a_run_that_dies_between_saves_ends_alike(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It repeats the epochs since the last save; metrics, health and steps have each row once."""
    Slow(monkeypatch, 0.2)

    class Die:
        def on_epoch_end(self, state: Fit) -> None:
            if state.epoch == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cs.train(images, out=tmp_path / "run", set=[*WORDS, "train.validate_every=2"], callbacks=[Die()])
    run = RunDirectory(tmp_path / "run")
    assert callbacks.checkpoint.load(run.checkpoint)["epoch"] < 19
    with open(run.metrics, "a", encoding="utf-8") as stream:
        stream.write("21,0.0")  # a line that was cut
    assert len(run.read_metrics()) in (19, 20)
    cs.train(out=run.path, resume=True)
    cs.train(images, out=tmp_path / "whole", set=[*WORDS, "train.validate_every=2"])
    assert figures(run.path) == figures(tmp_path / "whole")
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    assert all(a[name].equal(b[name]) for name in b)
    for table in (run.steps, run.health):
        rows = [tuple(row.values())[:-1] for row in run.read_table(table)]
        assert len(rows) == len(set(rows))
