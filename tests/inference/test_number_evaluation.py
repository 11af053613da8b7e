from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score, root_mean_squared_error

from convsmith.inference.number_evaluation import NumberEvaluation


def test_figures_are_scikit_learns() -> None:
    draws = np.random.default_rng(0)
    true = draws.normal(size=(30, 2))
    found = true + draws.normal(size=(30, 2)) * [0.1, 2.0]
    evaluation = NumberEvaluation("test", ["a", "b"], found, true, found - true)
    assert evaluation.mae == pytest.approx(mean_absolute_error(true, found))
    assert evaluation.rmse == pytest.approx(np.sqrt(((true - found) ** 2).mean()))
    for place, name in enumerate("ab"):
        row = evaluation.per_column()[name]
        assert row["mae"] == pytest.approx(mean_absolute_error(true[:, place], found[:, place]))
        assert row["rmse"] == pytest.approx(root_mean_squared_error(true[:, place], found[:, place]))
        assert row["r2"] == pytest.approx(r2_score(true[:, place], found[:, place]))
        assert row["median_absolute_error"] == pytest.approx(
            median_absolute_error(true[:, place], found[:, place])
        )
    worst = evaluation.mistakes(3)
    assert worst[0] == np.abs((found - true) / true.std(0)).max(1).argmax()
    assert "kl" not in evaluation.summary()


def test_votes_show_divergence_and_no_units() -> None:
    shares = np.array([[0.5, 0.5], [0.9, 0.1]])
    evaluation = NumberEvaluation(
        "val",
        ["a", "b"],
        shares,
        shares,
        shares * 0,
        np.array([0.1, 0.3]),
        np.array([True, False]),
        numeric=False,
    )
    found = evaluation.summary()
    low, high = found.pop("interval")
    assert low == 0 < 0.2 < high
    own = {"split": "val", "n": 2, "kl": 0.2, "accuracy": 0.5, "findings": [], "chosen_by": None}
    assert found == own
    assert evaluation.mistakes(1) == [1]
    assert re.fullmatch(
        r"KL divergence 0.2000 \(0.0000 to \d.\d+\), likeliest class right 50.00%", evaluation.headline
    )
