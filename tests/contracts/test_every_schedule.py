"""What holds for every schedule."""

from __future__ import annotations

import math
import pickle

import pytest

from convsmith import catalog

EVERY = pytest.mark.parametrize("name", catalog.names("schedule"))


@EVERY
@pytest.mark.parametrize("epochs", [1, 7, 100])
def test_it_is_a_share_of_the_rate_at_any_time(name: str, epochs: int) -> None:
    """Fractions of epochs included; one epoch is a training too. The optimizer's rate is the largest."""
    schedule = catalog.build("schedule", name)
    factors = [schedule(epochs * step / 50, epochs) for step in range(51)]
    assert all(math.isfinite(factor) and 0 <= factor <= 1 for factor in factors)
    assert max(factors) > 0.9


@EVERY
def test_it_is_a_pure_function_of_time(name: str) -> None:
    """A resumed run asks for its place alone, in a process of its own, and gets the same rate."""
    schedule = catalog.build("schedule", name)
    forward = [schedule(0.5 * step, 10) for step in range(20)]
    twin = pickle.loads(pickle.dumps(catalog.rebuild(*catalog.call_of(schedule))))
    assert [twin(0.5 * step, 10) for step in reversed(range(20))] == forward[::-1]
