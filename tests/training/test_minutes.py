"""A training that may take so many minutes plans its epochs by the clock, and its schedule with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import convsmith as cs
from convsmith.run.directory import RunDirectory
from convsmith.training import callbacks
from convsmith.training.loop import Fit

WORDS = ["model=lenet5", "train.device=cpu", "data.batch_size=12", "optimizer.sgd.lr=0.01", "schedule=cosine"]


class Clock:
    """A clock that the training's epochs move, each by the seconds that ``paces`` gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, paces: list[float]) -> None:
        self.now, self.paces, self.planned = 0.0, paces, []
        monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: self.now))

    def on_batch_end(self, state: Fit) -> None:
        if state.batch == len(state.train):
            self.now += self.paces[min(state.epoch, len(self.paces) - 1)]

    def on_epoch_end(self, state: Fit) -> None:
        self.planned.append(state.epochs)


def trained(images: Path, out: Path, clock: Any, minutes: float, *words: str, **more: Any) -> list[Any]:
    cs.train(images, out=out, minutes=minutes, set=[*WORDS, *words], callbacks=[clock], **more)
    return RunDirectory(out).read_metrics()


def test_the_schedule_ends_with_the_time(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured steps take milliseconds, so that the plan is the most there may be; an epoch takes 10 s."""
    rows = trained(images, tmp_path / "run", clock := Clock(monkeypatch, [10.0]), 2)
    assert len(rows) == 12, "as many as fit into two minutes"
    assert clock.planned == [12] * 12
    rates = [row["lr"] for row in rows]
    assert rates[-1] < 0.05 * max(rates)


def test_a_pace_that_changes_changes_the_plan(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Clock(monkeypatch, [30.0, 10.0])
    assert len(trained(images, tmp_path / "slow", slow, 2)) == 10, "30 + 9 * 10 seconds"
    assert slow.planned[0] == 4
    assert slow.planned[-1] == 10
    late = Clock(monkeypatch, [10.0] * 5 + [40.0])
    assert len(trained(images, tmp_path / "late", late, 2)) == 6, "50 + 40 seconds, and no 40 more"


def test_given_epochs_are_the_most(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Clock(monkeypatch, [1.0])
    assert len(trained(images, tmp_path / "few", quick, 2, "train.epochs=3")) == 3
    clock = Clock(monkeypatch, [40.0])
    assert len(trained(images, tmp_path / "many", clock, 2, "train.epochs=9")) == 3


def test_a_resumed_training_keeps_its_plan(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(Clock):
        def on_epoch_end(self, state: Fit) -> None:
            super().on_epoch_end(state)
            if state.epoch == 4:
                raise RuntimeError("as if killed")

    words = ["train.checkpoint_minutes=0"]
    with pytest.raises(RuntimeError):
        trained(images, tmp_path / "run", Stops(monkeypatch, [10.0]), 2, *words)
    rates: list[float] = []

    class Watch(Clock):
        def on_batch_end(self, state: Fit) -> None:
            super().on_batch_end(state)
            rates.append(state.optimizer.param_groups[0]["lr"])

    cs.train(out=tmp_path / "run", resume=True, callbacks=[Watch(monkeypatch, [10.0])])
    assert rates[0] < 0.01 * 0.8, "a plan of 100 epochs would still be near its highest rate"


def test_few_minutes_are_said_beforehand(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cs.train(images, out=tmp_path / "run", minutes=1e-5, set=WORDS, progress=True)
    said = capsys.readouterr().err
    assert said.index("minutes are enough for 1 epochs of 4 updates, from random weights") < said.index(
        "epoch "
    )
