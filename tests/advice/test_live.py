"""What --auto decides, and that a training does it."""

from __future__ import annotations

from pathlib import Path

import pytest

import convsmith as cs
from convsmith import recipe as recipes
from convsmith.advice.live import decays, exploded, overfits
from convsmith.run.directory import RunDirectory


def test_flat_means_less_than_two_percent_over_four_epochs() -> None:
    steady = [{"train_loss": 0.97**n} for n in range(40)]
    assert decays(steady) == 0
    assert decays([{"train_loss": 0.997**n} for n in range(8)]) == 1
    falls_again = [{"train_loss": 1.0}] * 8 + [{"train_loss": 0.8 * 0.9**n} for n in range(20)]
    assert decays(falls_again) == 1


def test_over_fitting_needs_worse_validation_and_better_training() -> None:
    rows = [{"train_loss": 1 / n, "val_loss": 1.0 if n < 4 else 1.2} for n in range(1, 10)]
    assert overfits(rows) is not None
    assert overfits([{**row, "train_loss": 1.0} for row in rows]) is None, "training isn't better either"
    assert overfits([{**row, "val_loss": min(row["val_loss"], 1.05)} for row in rows]) is None, "hardly worse"
    assert overfits([]) is None


def test_an_explosion() -> None:
    assert exploded(2.3, float("inf"))
    assert not exploded(0.1, 2.9), "near nothing, three times is nothing"


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
        "optimizer={adam: {lr: 0.002}}",
        "train.epochs=60",
        "train.auto=true",
    ]
    found = cs.train("digits", out=tmp_path / "run", model="lenet5", set=words)
    assert found["epochs"] < 60
    assert found["stopped"].startswith("over-fitting: the validation loss rose")
