"""95% intervals against scipy's, and how often they hold what is true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from convsmith.inference.intervals import of_mean, of_recalls, of_share


@given(images=st.integers(1, 2000), share=st.floats(0, 1))
def test_of_a_share(images: int, share: float) -> None:
    right = round(share * images)
    expected = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert of_share(right / images, images) == pytest.approx((expected.low, expected.high), abs=1e-4)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50))
def test_of_a_mean(values: list[float]) -> None:
    own = np.array(values)
    if own.std() < 1e-9:
        return
    expected = stats.t.interval(0.95, len(own) - 1, loc=own.mean(), scale=stats.sem(own))
    least = 0 if own.min() >= 0 else -np.inf
    assert of_mean(own) == pytest.approx((max(least, expected[0]), expected[1]))


def test_of_recalls_holds_the_truth_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0)
    images, truth = np.array([300, 20, 8]), np.array([0.9, 0.7, 0.95])
    held = 0
    for _ in range(2000):
        low, high = of_recalls(draws.binomial(images, truth).tolist(), images.tolist())
        held += low <= truth.mean() <= high
    assert 0.93 < held / 2000 < 0.995
