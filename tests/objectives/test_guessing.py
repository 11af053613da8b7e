"""What guessing and knowing cost, against the minimum that an optimizer finds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from convsmith.objectives.guessing import guessing, knowing
from convsmith.objectives.objective import Objective, build, comparable

UNEVEN = {"a": 800, "b": 150, "c": 50}
TEN = dict.fromkeys("abcdefghij", 7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("counts", [UNEVEN, TEN])
def test_cross_entropy_against_the_best_constant_answer(counts: dict[str, int], smoothing: float) -> None:
    shares = torch.tensor(list(counts.values()), dtype=torch.double)
    shares /= shares.sum()

    def loss(answer: Any) -> float:
        each = F.cross_entropy(
            torch.tensor(answer).expand(len(shares), -1),
            torch.arange(len(shares)),
            reduction="none",
            label_smoothing=smoothing,
        )
        return float((each * shares).sum())

    least = minimize(loss, np.zeros(len(shares))).fun
    found = guessing({"cross_entropy": {"smoothing": smoothing}, "l2": {}}, counts)
    assert found == pytest.approx(least, rel=0.02)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_knowing_smoothed_labels_costs_their_entropy(classes: int) -> None:
    target = torch.full((classes,), 0.1 / classes)
    target[0] += 0.9
    found = knowing({"cross_entropy": {"smoothing": 0.1}}, {str(k): 3 for k in range(classes)})
    assert found == pytest.approx(float(-(target * target.log()).sum()), rel=0.02)
    assert knowing({"cross_entropy": {}}, TEN) == pytest.approx(0, abs=1e-6)


def test_margins_by_hand() -> None:
    """All answers "a": the hinge costs 2 for each of the 20% others, its square 4, the ramp 1 - s = 1.5."""
    assert guessing({"hinge": {}}, TEN) == 1
    assert guessing({"hinge": {}}, UNEVEN) == pytest.approx(0.4)
    assert guessing({"ramp": {}}, UNEVEN) == pytest.approx(0.2 * 1.5)
    assert guessing({"ramp": {"s": -2}}, UNEVEN) == pytest.approx(0.2 * 2), "of a margin of 1"
    assert guessing({"weighted_cross_entropy": {}}, UNEVEN) == pytest.approx(math.log(3), rel=1e-3)
    assert guessing({"large_margin": {}, "center": {}}, TEN) == pytest.approx(math.log(10))


def test_what_can_not_be_built_is_cross_entropys() -> None:
    assert guessing({"nonsense": {}}, TEN) == pytest.approx(math.log(10))
    assert knowing({"nonsense": {}}, TEN) == 0


def test_terms_say_in_which_splits_epochs_compare() -> None:
    given = {"num_classes": lambda: 4, "num_features": lambda: 3}
    assert build({"cross_entropy": {}, "l2": {}}, facts=given)[0].comparable("train")
    large, _ = build({"large_margin": {}, "l2": {}}, facts=given)
    assert (large.comparable("train"), large.comparable("val")) == (False, True)
    robust, _ = build({"tukey": {}}, targets="numbers")
    assert (robust.comparable("train"), robust.comparable("val")) == (False, False)

    class Own(torch.nn.CrossEntropyLoss):
        comparable = ("val",)

    assert comparable(Own) == ("val",)
    assert not Objective({"own": Own()}).comparable("train")
