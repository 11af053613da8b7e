from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.advice.learning_rate import smoothed, sweep


def test_smoothing_is_the_weighted_mean_of_what_was_seen() -> None:
    losses = np.random.default_rng(0).random(20)
    found = smoothed(losses.tolist(), 0.8)
    for end in range(1, 21):
        weights = 0.8 ** np.arange(end)[::-1]
        assert found[end - 1] == pytest.approx(np.average(losses[:end], weights=weights))


def test_the_proposal_lies_before_the_turn() -> None:
    """A loss that falls like a logistic curve around 0.01 and explodes from 1 on."""
    rates = np.logspace(-6, 1, 100)
    losses = 2.3 - 2 / (1 + (0.01 / rates) ** 2) + np.where(rates > 1, 5 * (rates - 1), 0)
    found = sweep(rates.tolist(), losses.tolist())
    assert 0.003 < found.steepest < 0.1
    assert 0.3 < found.minimum < 3
    assert found.proposal <= found.minimum / 9
    assert found.proposal == float(f"{found.proposal:.0e}"), "one digit"


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
