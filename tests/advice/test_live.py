"""What --auto decides, and that a training does it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.advice.live import Row, decays, exploded, overfits
from convsmith.models.lenet import lenet5
from convsmith.objectives.objective import Objective
from convsmith.run.directory import RunDirectory
from convsmith.training.auto import Auto
from convsmith.training.loop import Fit


def power_law(
    epochs: int, deviation: float = 0.0, a: float = 1.9, b: float = 4.5, c: float = 0.75
) -> list[Row]:
    """A training loss as ImageNet's at one rate: it falls ever more slowly, but falls."""
    noise = deviation * np.random.default_rng(0).standard_normal(epochs)
    return [{"train_loss": a + b * (n + 1) ** -c + noise[n]} for n in range(epochs)]


@pytest.mark.parametrize("deviation", [0.0, 0.005, 0.02])
def test_a_loss_that_falls_ever_more_slowly_is_not_flat(deviation: float) -> None:
    assert decays(power_law(100, deviation)) == 0
    assert decays(power_law(100, deviation, a=2.0, c=0.6)) == 0
    assert decays([{"train_loss": 0.97**n} for n in range(40)]) == 0


def test_flat_is_no_fall_beyond_noise() -> None:
    r = np.random.default_rng(0)
    stays = [{"train_loss": 1 + 0.03 * r.standard_normal()} for _ in range(60)]
    assert decays(stays) == 3
    falls_again = [{"train_loss": 1.0}] * 8 + [{"train_loss": 0.8 * 0.9**n} for n in range(20)]
    assert decays(falls_again) == 1


def test_a_schedule_that_falls_is_left_alone() -> None:
    """Under a cosine nothing is lowered; after the last step of a step schedule the rule counts again."""
    stays = [{"train_loss": 1.0}] * 60
    assert decays(stays, ahead=[(1 + math.cos(math.pi * n / 60)) / 2 for n in range(60)]) == 0
    steps = [1.0] * 20 + [0.1] * 40
    assert decays(stays[:27], ahead=steps) == 0
    assert decays(stays[:28], ahead=steps) == 1
    assert decays(stays[:8], ahead=[0.01, *[1.0] * 59]) == 1, "a warm-up is no fall"


def test_without_a_comparable_loss_the_error_counts() -> None:
    rows = [{"train_loss": 0.45, "train_mae": 10 * 0.9**n} for n in range(30)]
    assert decays(rows) > 0
    assert decays(rows, comparable=False) == 0


def test_over_fitting_is_a_worse_error_and_a_better_training() -> None:
    rows = [{"train_loss": 1 / n, "val_loss": 1.0 if n < 4 else 1.2} for n in range(1, 10)]
    assert overfits(rows) is not None
    assert overfits([{**row, "train_loss": 1.0} for row in rows]) is None, "training isn't better either"
    assert overfits([{**row, "val_loss": min(row["val_loss"], 1.05)} for row in rows]) is None, "hardly worse"
    assert overfits([]) is None


def test_a_loss_that_rises_is_none_while_the_error_falls() -> None:
    """As large margin's and many a long healthy training's."""
    rows = [
        {"train_loss": 1 / n, "val_loss": 0.1 * n, "val_accuracy": 1 - 1 / n, "train_accuracy": 1.0 - 0.5 / n}
        for n in range(1, 30)
    ]
    assert overfits(rows, 1000, by_loss=True) is None
    stays = [{**row, "val_accuracy": 0.5} for row in rows]
    assert overfits(stays, 1000) is None
    assert "the validation loss rose from 0.1" in (overfits(stays, 1000, by_loss=True) or "")


def test_over_fitting_is_judged_by_the_number_of_images() -> None:
    accuracy = [0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.64, 0.64, 0.64, 0.64, 0.64]
    rows = [
        {"train_loss": 1.0, "val_loss": 1.0, "val_accuracy": value, "train_accuracy": 0.5 + 0.01 * n}
        for n, value in enumerate(accuracy)
    ]
    assert overfits(rows, 10_000) is not None
    assert overfits(rows, 200) is None


def test_an_explosion() -> None:
    assert exploded(2.3, float("inf"))
    assert not exploded(0.1, 2.9), "near nothing, three times is nothing"
    assert exploded(0.001, 0.1, 0.0), "of numbers only the first loss is known"
    assert not exploded(0.1, 6.0, math.log(10))


def test_a_rate_that_explodes_is_lowered_until_it_doesnt(tmp_path: Path) -> None:
    words = ["data.size=16", "optimizer.sgd.lr=2", "train.epochs=4", "train.auto=true", "train.device=cpu"]
    found = cs.train("digits", out=tmp_path / "run", model="lenet5", set=words)
    assert found["accuracy"] > 0.6
    recipe = recipes.load(tmp_path / "run/recipe.yaml")
    assert recipe.optimizer["sgd"]["lr"] in (pytest.approx(0.2), pytest.approx(0.02))
    assert "started again with a tenth" in (tmp_path / "run/recipe.yaml").read_text()
    restarts = [finding for finding in found["findings"] if finding.get("name") == "restarted"]
    assert restarts
    assert "at a rate of 2; the training was started again with 0.2" in restarts[0]["seen"]
    rows = RunDirectory(tmp_path / "run").read_metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4], "nothing is left of what exploded"


def test_small_data_are_watched_too(images: Path, tmp_path: Path) -> None:
    """Two batches an epoch: no look at every tenth batch of the first epoch would ever come."""
    words = ["optimizer.sgd.lr=50", "train.epochs=3", "train.auto=true", "model.resnet20.width=4"]
    found = cs.train(images, out=tmp_path / "run", set=words)
    assert [finding["name"] for finding in found["findings"]].count("restarted") >= 1
    assert recipes.load(tmp_path / "run/recipe.yaml").optimizer["sgd"]["lr"] <= 5.1


def test_without_auto_it_says_so(tmp_path: Path) -> None:
    words = ["data.size=16", "optimizer.sgd.lr=20", "train.epochs=2", "train.device=cpu"]
    with pytest.raises(cs.UserError, match="the learning rate is probably too high"):
        cs.train("digits", out=tmp_path / "run", model="lenet5", set=words)


def test_flat_lowers_the_rate(images: Path, tmp_path: Path) -> None:
    """At a rate at which nothing moves: flat from the start, lowered after every eighth epoch, thrice."""
    words = ["schedule=constant", "optimizer.sgd.lr=1e-9", "train.epochs=30", "train.auto=true"]
    cs.train(images, out=tmp_path / "run", model="lenet5", set=[*words, "data.augment={}"])
    rates = [row["lr"] for row in RunDirectory(tmp_path / "run").read_metrics()]
    expected = [1e-9] * 8 + [1e-10] * 8 + [1e-11] * 8 + [1e-12] * 6
    assert rates == pytest.approx(expected)


def test_over_fitting_stops(tmp_path: Path) -> None:
    """Labels that mean nothing are learned by heart, and validation gets worse."""
    words = [
        "data.size=16",
        "data.label_noise={type: symmetric, rate: 0.9}",
        "data.augment={}",
        "schedule=constant",
        "optimizer={adam: {lr: 0.004}}",
        "train.epochs=60",
        "train.auto=true",
    ]
    found = cs.train("digits", out=tmp_path / "run", model="lenet5", set=words)
    assert found["epochs"] < 60
    assert found["stopped"].startswith("over-fitting: the validation loss rose")


def test_a_term_of_ones_own_says_that_its_loss_does_not_compare(images: Path) -> None:
    """A loss in other units in each epoch would explode and decay; what says so is judged by its accuracy."""

    class Drifting(nn.CrossEntropyLoss):
        comparable = ()

        def forward(self, input: Tensor, target: Tensor, progress: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(input, target) * (1 + 100 * progress)

    state = cs.fit(
        lenet5(in_channels=3, size=16, num_classes=3),
        images,
        set=["train.epochs=3", "data.batch_size=12", "optimizer.sgd.lr=0.001"],
        callbacks=[Auto(chance=math.log(3)), Exchange(Drifting())],
    )
    assert not state.task.objective.comparable("train")
    assert state.epoch == 3
    best = max(state.history, key=lambda row: row["val_accuracy"])
    assert state.best is not None
    assert state.best["epoch"] == best["epoch"], "the first of equal ones, whatever the loss"


class Exchange:
    """Puts a term in the place of the objective's."""

    def __init__(self, term: nn.Module) -> None:
        self.term = term

    def on_start(self, state: Fit) -> None:
        state.task.objective = Objective({"own": self.term})


def test_a_loss_that_rises_beside_errors_at_chance_is_over_fitting() -> None:
    """The error of the one epoch with the least loss is noise; those around it tell whether it has fallen."""
    r = np.random.default_rng(0)
    right = 0.1 + 0.02 * r.standard_normal(30)
    right[6] = 0.05
    rows = [
        {
            "train_loss": 2.3 - 0.05 * n,
            "train_accuracy": 0.1 + 0.02 * n,
            "val_loss": 2.3 + 0.1 * abs(n - 6),
            "val_accuracy": float(right[n]),
        }
        for n in range(30)
    ]
    assert overfits(rows, 287, by_loss=True) is not None
    falls = [{**row, "val_accuracy": 0.1 + 0.02 * n} for n, row in enumerate(rows)]
    assert overfits(falls, 287, by_loss=True) is None, "the error falls all the while"
