"""What is noted of a training's health is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import convsmith as cs
from convsmith.advice.evidence import gather
from convsmith.run.directory import RunDirectory
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


def test_a_failed_training_leaves_its_steps(images: Path, tmp_path: Path) -> None:
    words = [*WORDS, "optimizer.sgd.lr=1e6", "train.epochs=3"]
    with pytest.raises(cs.UserError, match="the loss became"):
        cs.train(images, out=tmp_path / "run", model="lenet5", set=words)
    found = cs.diagnose(tmp_path / "run")
    assert found["findings"][0]["name"] == "rate_too_high"
    assert "leaves all bounds in epoch 1" in found["findings"][0]["seen"]


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
