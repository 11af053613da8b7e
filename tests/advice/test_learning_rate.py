from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.advice.learning_rate import Sweep, centered, smoothed, sweep

RATES = np.logspace(-6, 1, 100)


def curve(
    turn: float = 0.3, start: float = 0.01, noise: float = 0.0, seed: int = 0, top: float = 2.3
) -> Sweep:
    """A loss that falls like a logistic curve around ``start`` and explodes from ``turn`` on."""
    losses = (
        top - 0.6 * top / (1 + (start / RATES) ** 2) + np.where(turn < RATES, top * (RATES / turn - 1), 0)
    )
    losses = losses * (1 + noise * np.random.default_rng(seed).standard_normal(100))
    return sweep(RATES.tolist(), losses.tolist())


def test_smoothing_is_the_weighted_mean_of_what_was_seen() -> None:
    losses = np.random.default_rng(0).random(20)
    found = smoothed(losses.tolist(), 0.8)
    for end in range(1, 21):
        weights = 0.8 ** np.arange(end)[::-1]
        assert found[end - 1] == pytest.approx(np.average(losses[:end], weights=weights))


def test_centered_means_don_t_lag_behind() -> None:
    """Of a straight line they are the line; scipy's Gaussian filter is the same away from the ends."""
    from scipy.ndimage import gaussian_filter1d

    line = np.linspace(1, 2, 100)
    assert centered(line.tolist())[20:80] == pytest.approx(line[20:80], abs=1e-6)
    losses = 1 + np.random.default_rng(0).random(200)
    expected = gaussian_filter1d(losses, 6.0, truncate=8)
    assert centered(losses.tolist())[60:140] == pytest.approx(expected[60:140], rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
def test_the_proposal_lies_below_the_turn_on_every_seed(noise: float, seed: int) -> None:
    found = curve(noise=noise, seed=seed)
    assert found.unclear is None
    assert 0.05 < found.minimum < 0.5
    assert 0.03 <= found.proposal <= 0.2
    assert found.proposal == float(f"{found.proposal:.0e}"), "one digit"


@pytest.mark.parametrize("turn", [0.003, 0.03, 0.3])
def test_the_proposal_follows_the_turn(turn: float) -> None:
    found = curve(turn=turn, start=turn / 30)
    assert turn / 10 <= found.proposal < turn
    assert turn / 100 < found.steepest < found.minimum


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (np.full(100, 2.3), "falls clearly below"),
        (2.3 + 0.2 * np.random.default_rng(0).standard_normal(100), "falls clearly below"),
        (np.linspace(2.3, 1.0, 100), "still falls at the last rate, 10"),
        (2.3 * 1.05 ** np.arange(100), "rises from the first rate on, 1e-06"),
        (np.r_[2.3, 1.5, 1.0, 0.9, 1.5, 2.0, np.full(94, 5.0)], "from the first rate on"),
    ],
)
def test_no_rate_is_proposed_where_the_sweep_shows_none(losses: np.ndarray, said: str) -> None:
    unclear = sweep(RATES.tolist(), losses.tolist()).unclear
    assert unclear is not None
    assert said in unclear


@pytest.mark.parametrize("seed", range(40))
def test_noise_alone_is_never_an_answer(seed: int) -> None:
    r = np.random.default_rng(seed)
    assert sweep(RATES.tolist(), (2.3 + 0.3 * r.standard_normal(100)).tolist()).unclear is not None
    assert sweep(RATES[::5].tolist(), (2.3 + 0.3 * r.standard_normal(20)).tolist()).unclear is not None


def test_a_sweep_proposes_a_rate_that_trains(images: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ["train.device=cpu", "data.batch_size=12"]
    found = cs.lr_range(images, model="lenet5", set=words, steps=80, out=page)
    rates = found["rates"]
    ratios = [b / a for a, b in pairwise(rates)]
    assert max(ratios) == pytest.approx(min(ratios))
    assert rates[0] == pytest.approx(1e-6)
    assert len(rates) <= 80
    assert all(map(math.isfinite, found["losses"]))
    assert f"learning rate of {found['proposal']:g}" in page.read_text()
    result = cs.train(
        images, out=tmp_path / "run", model="lenet5", set=[*words, found["word"], "train.epochs=15"]
    )
    assert result["accuracy"] > 0.8


def test_refusals(images: Path) -> None:
    with pytest.raises(cs.UserError, match=r"`low=1` must be above 0 and below `high=0\.1`"):
        cs.lr_range(images, low=1.0, high=0.1)
    with pytest.raises(cs.UserError, match="no rate is proposed: at no rate from 1e-09 to 1e-07"):
        cs.lr_range(
            images,
            model="lenet5",
            low=1e-9,
            high=1e-7,
            set=["train.device=cpu", "data.batch_size=12"],
            steps=30,
        )
