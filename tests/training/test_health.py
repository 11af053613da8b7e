"""What is noted of a training's health is what it says."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.advice.evidence import gather
from convsmith.advice.labels import suspects
from convsmith.run.directory import RunDirectory
from convsmith.training.health import FREE, SHARE, Health
from convsmith.training.loop import Fit

WORDS = ["train.device=cpu", "data.batch_size=12", "optimizer.sgd.lr=0.02", "data.augment={}"]


def test_losses_gradients_and_answers(images: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    gradients: dict[str, list[float]] = {}
    right: list[float] = []

    class Watch:
        def on_start(self, state: Fit) -> None:
            state.optimizer.optimizer.register_step_pre_hook(lambda *_: self.look(state))

        def look(self, state: Fit) -> None:
            for name, p in state.task.model.named_parameters():
                if name.endswith("weight"):
                    gradients.setdefault(name, []).append(float(p.grad.square().mean()))

        def on_batch_end(self, state: Fit) -> None:
            losses.append(float(state.loss))

        def on_epoch_end(self, state: Fit) -> None:
            model = state.task.model.eval()
            (batch,) = (b for b in state.val.epoch(0))
            with torch.no_grad():
                right.append(float((model(batch.images).argmax(1) == batch.targets).float().mean()))
            model.train()

    cs.train(
        images, out=tmp_path / "run", model="lenet5", set=[*WORDS, "train.epochs=3"], callbacks=[Watch()]
    )
    e = gather(RunDirectory(tmp_path / "run"))
    assert [loss for _, _, loss in e.steps] == pytest.approx(losses, rel=1e-4)
    assert [(epoch, batch) for epoch, batch, _ in e.steps] == [
        (n, b) for n in (1, 2, 3) for b in (1, 2, 3, 4)
    ]
    assert e.health["right"]["val"] == pytest.approx(right)
    for name, values in e.health["gradient"].items():
        # Four updates an epoch, all of them looked at.
        means = [sum(gradients[name][4 * n : 4 * n + 4]) / 4 for n in range(3)]
        assert values == pytest.approx([mean**0.5 for mean in means], rel=1e-4)
    for name, values in e.health["first_gradient"].items():
        assert values == pytest.approx([gradients[name][0] ** 0.5], rel=1e-4)
    assert set(e.health["first_gradient"]) == set(e.health["gradient"])
    assert set(e.health["dead"]) == {"act"}
    # Without penalties: metrics' own loss, whose mean is over images.
    assert e.rows[0]["train_loss"] == pytest.approx(sum(losses[:4]) / 4, rel=1e-3)


def test_what_was_dead_in_the_source_is_noted_before_the_training(images: Path, tmp_path: Path) -> None:
    cs.train(images, out=tmp_path / "source", set=[*WORDS, "train.epochs=1"])
    words = [*WORDS, "train.epochs=2", "train.finetune=all_stages"]
    cs.train(images, out=tmp_path / "run", start_from=tmp_path / "source", set=words)
    fresh, tuned = (gather(RunDirectory(tmp_path / name)).health for name in ("source", "run"))
    assert "first_dead" not in fresh
    assert set(tuned["first_dead"]) == set(tuned["dead"])
    assert all(len(values) == 1 for values in tuned["first_dead"].values())


def test_a_failed_training_leaves_its_steps(images: Path, tmp_path: Path) -> None:
    words = [*WORDS, "optimizer.sgd.lr=1e6", "train.epochs=3"]
    with pytest.raises(cs.UserError, match="the loss became"):
        cs.train(images, out=tmp_path / "run", model="lenet5", set=words)
    found = cs.diagnose(tmp_path / "run")
    assert found["findings"][0]["name"] == "rate_too_high"
    assert "leaves all bounds in epoch 1" in found["findings"][0]["seen"]


@pytest.mark.usefixtures("unhurried")
def test_a_resumed_run_has_each_row_once(images: Path, tmp_path: Path) -> None:
    class Break:
        def on_batch_end(self, state: Fit) -> None:
            if state.epoch == 2:
                raise KeyboardInterrupt

    words = [*WORDS, "train.epochs=4", "train.checkpoint_minutes=0"]
    with pytest.raises(KeyboardInterrupt):
        cs.train(images, out=tmp_path / "run", model="lenet5", set=words, callbacks=[Break()])
    cs.train(out=tmp_path / "run", resume=True)
    cs.train(images, out=tmp_path / "whole", model="lenet5", set=words)
    broken, whole = (gather(RunDirectory(tmp_path / name)) for name in ("run", "whole"))
    assert broken.health["right"] == whole.health["right"]
    assert broken.health["weight"] == whole.health["weight"]


class Half(nn.Module):
    """Of four channels one never responds, one always, and two to half of the pixels each."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.fc = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(images[:, :1])
        half = ones.clone()
        half[..., ::2] = -1
        maps = self.act(4 * torch.cat([-ones, ones, half, -half], 1))
        return self.fc(maps.mean((2, 3)))


@pytest.mark.parametrize("act", [nn.ReLU(), nn.Hardswish(), nn.Tanh()], ids=repr)
def test_silent_and_dead_units_are_counted_as_inspection_does(
    act: nn.Module, images: Path, tmp_path: Path
) -> None:
    cs.train(images, out=tmp_path / "run", model=Half(act), set=[*WORDS, "train.epochs=1"])
    e = gather(RunDirectory(tmp_path / "run"))
    seen = cs.inspect(tmp_path / "run")
    if isinstance(act, nn.Tanh):  # its negative answers are answers
        assert "dead" not in e.health
        assert (seen["zero_share"], seen["dead"], seen["saturated_share"]) == ({}, {}, {"act": 1.0})
        return
    assert e.health["dead"]["act"] == [0.25]
    assert e.health["silent"]["act"] == [0.5]
    assert (seen["zero_share"]["act"], seen["dead"]["act"]) == (0.5, 1)


def test_health_is_that_of_the_net_that_is_kept(images: Path, tmp_path: Path) -> None:
    """Of the running average, not of the weights that it follows; so are the classes it is sure of."""
    found: list[tuple[float, float]] = []

    class Watch:
        def on_epoch_end(self, state: Fit) -> None:
            net = state.model.eval()
            (batch,) = state.train.sample(256).epoch(0)
            with torch.no_grad():
                logits = net(batch.images)
            wrong = suspects(logits.softmax(1).numpy(), batch.targets.numpy())
            found.append((float((logits.argmax(1) == batch.targets).float().mean()), float(wrong.mean())))
            assert state.average is not None

    words = [*WORDS, "train.epochs=3", "train.ema.decay=0.9", "data.batch_size=48", "optimizer.sgd.lr=0.3"]
    cs.train(images, out=tmp_path / "run", model="lenet5", set=words, callbacks=[Watch()])
    health = gather(RunDirectory(tmp_path / "run")).health
    assert health["right"]["train"] == pytest.approx([right for right, _ in found], abs=1e-5)
    assert health["doubted"]["train"] == pytest.approx([doubt for _, doubt in found], abs=1e-5)
    assert health["sample"]["train"] == [48] * 3


def test_measuring_keeps_within_its_share_of_the_time(images: Path, tmp_path: Path) -> None:
    """A clock that runs fast while health is measured: it is then measured seldom, and still at the end."""
    health = Health(RunDirectory(tmp_path))
    state: Any = SimpleNamespace(epoch=0, epochs=1000, stop=None, spent={"train": 0.0, "val": 0.0})
    measured = []
    for epoch in range(1, 1001):
        state.epoch = epoch
        state.spent["train"] += 0.01
        if health.left(state) >= 0.05:
            measured.append(epoch)
            health.spent += 0.05
        assert health.spent <= FREE + SHARE * state.spent["train"]
    assert measured[0] < 10
    assert 5 <= len(measured) <= 12
    assert measured[-1] == 1000


def test_seconds_are_those_on_the_clock(images: Path, tmp_path: Path) -> None:
    """Training, validation and all beside them add up to the rows', and these to the training's."""

    class Slow:
        def on_epoch_end(self, state: Fit) -> None:
            time.sleep(0.05)

    begun = time.perf_counter()
    words = [*WORDS, "train.epochs=3"]
    run = cs.train(images, out=tmp_path / "run", model="lenet5", set=words, callbacks=[Slow()])
    whole = time.perf_counter() - begun
    e = gather(RunDirectory(tmp_path / "run"))
    rows, parts = e.column("seconds"), e.health["seconds"]
    assert 0.15 < run["seconds"] < whole
    assert 0.1 < sum(rows) <= run["seconds"] - 0.05
    assert rows[1] > parts["training"][1] + parts["validation"][1] + 0.05
    assert sum(map(sum, parts.values())) == pytest.approx(sum(rows), abs=0.2)
    assert sum(parts["beside"]) > 0.1
