"""Curves: their noise, rises and plateaus, against simulation and limits."""

from __future__ import annotations

import numpy as np
import pytest

from convsmith.advice.trends import errors, flat, noise, risen


def test_noise_is_the_deviation_about_any_straight_course() -> None:
    r = np.random.default_rng(0)
    values = 3 - 0.01 * np.arange(5000) + 0.2 * r.standard_normal(5000)
    assert noise(values.tolist()) == pytest.approx(0.2, rel=0.05)
    assert noise([1.0, 2.0]) == 0


def test_errors_are_of_the_measure_and_of_the_loss_only_without_one() -> None:
    assert errors([{"val_loss": 9.0, "val_mae": 2.0}], "val") == [2.0]
    assert errors([{"train_loss": 9.0, "train_kl": 0.5}], "train") == [0.5]
    assert errors([{"train_loss": 9.0, "val_accuracy": 0.5}], "train") == [9.0]
    assert errors([], "val") == []


@pytest.mark.parametrize("deviation", [0.0, 0.003, 0.03])
def test_curves_without_a_rise_raise_no_alarm(deviation: float) -> None:
    """Flat, and falling as a power law: at most 1 of 200 draws, whatever the noise."""
    r = np.random.default_rng(1)
    for course in (np.full(60, 0.3), 0.2 + 0.5 * np.arange(1, 61) ** -0.7):
        alarms = [risen((course + deviation * r.standard_normal(60)).tolist()) for _ in range(200)]
        assert sum(alarm is not None for alarm in alarms) <= 1


def test_a_rise_is_found_where_noise_and_number_of_images_allow() -> None:
    course = np.r_[np.linspace(0.8, 0.3, 20), np.linspace(0.3, 0.4, 20)]
    values = (course + 0.01 * np.random.default_rng(2).standard_normal(40)).tolist()
    found = risen(values, 10_000)
    assert found is not None
    assert 15 <= found.epoch <= 23
    assert found.end == pytest.approx(0.39, abs=0.01)
    assert risen(values, 100) is None, "100 images can't tell 30% from 39%"
    assert risen((course + 0.1 * np.random.default_rng(2).standard_normal(40)).tolist()) is None
    assert risen(values, share=0.5) is None, "a rise by a third"
    assert risen(values[:7]) is None, "too short"


def test_flat_is_within_noise_and_a_steady_fall_is_not() -> None:
    r = np.random.default_rng(3)
    plateau = [flat((1 + 0.01 * r.standard_normal(40)).tolist(), 20, 0.02) for _ in range(200)]
    assert np.mean(plateau) > 0.95
    slow = [
        flat((1 - 0.001 * np.arange(40) + 0.003 * r.standard_normal(40)).tolist(), 20, 0.03)
        for _ in range(99)
    ]
    assert not any(slow), "2% in 20 epochs, six times the noise of the two means"
    assert flat((1 - 1e-5 * np.arange(40)).tolist(), 20, 0.02), "a fall by 0.02% is none"
    assert not flat([1.0] * 39, 20, 0.02), "too short"
