"""From outputs to what people are told."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from convsmith.data.signature import Signature
from convsmith.inference.answers import answers, decisions, posteriors

THREE = Signature(("a", "b", "c"), 8, 3)
COSTLY = Signature(("a", "b", "c"), 8, 3, costs=((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (50.0, 50.0, 0.0)))


def test_posteriors_are_the_softmax_at_any_size() -> None:
    outputs = np.random.default_rng(0).normal(0, 300, (20, 7))
    assert posteriors(outputs) == pytest.approx(scipy.special.softmax(outputs, axis=1), abs=1e-12)
    assert posteriors(outputs).sum(1) == pytest.approx(1.0)


def test_decisions_of_least_expected_cost_by_brute_force() -> None:
    own = posteriors(np.random.default_rng(1).normal(0, 2, (50, 3)))
    assert decisions(own, THREE).tolist() == own.argmax(1).tolist()
    assert COSTLY.costs is not None
    expected = [
        min(range(3), key=lambda k: sum(row[j] * COSTLY.costs[j][k] for j in range(3))) for row in own
    ]  # type: ignore[index]
    assert decisions(own, COSTLY).tolist() == expected
    assert expected != own.argmax(1).tolist()


def test_labels_and_the_likeliest() -> None:
    (found,) = answers(np.log([[0.2, 0.5, 0.3]]), THREE, top=2)
    assert found["label"] == "b"
    assert found["probability"] == pytest.approx(0.5)
    assert [row["label"] for row in found["top"]] == ["b", "c"]
    assert [row["probability"] for row in found["top"]] == pytest.approx([0.5, 0.3])
    (found,) = answers(np.log([[0.2, 0.5, 0.3]]), COSTLY, top=99)
    assert (found["label"], found["top"][0]["label"], len(found["top"])) == ("c", "b", 3)
    assert found["probability"] == pytest.approx(0.3), "of the label, not of the likeliest"
    assert len(answers(np.zeros((1, 3)), THREE, top=0)[0]["top"]) == 1
    assert [row["label"] for row in answers(np.zeros((1, 3)), THREE)[0]["top"]] == ["a", "b", "c"], (
        "ties in order"
    )
