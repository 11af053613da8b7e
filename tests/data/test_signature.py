"""What a net's inputs and outputs mean, as data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from convsmith.data.signature import LARGEST, Signature

FULL = Signature(
    ("a", "b"), 32, 3, 40, ("w", "h"), {"numbers": {}}, {"mean": [1.0, 2.0]}, ((0.0, 1.5), (2.0, 0.0))
)


@pytest.mark.parametrize("own", [FULL, Signature(("x",), 8, 1), Signature(("é\n", ""), 8, 1, 8)])
def test_there_and_back_through_text(own: Signature) -> None:
    assert Signature.from_json(json.loads(json.dumps(own.to_json()))) == own


def test_fields_that_say_nothing_are_left_out() -> None:
    assert Signature(("x",), 8, 1).to_json() == {"classes": ["x"], "size": 8, "channels": 1}
    assert set(FULL.to_json()) == {"classes", "size", "channels", "stored", "costs", "target"}
    assert Signature(("x",), 8, 1).stored == 8


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "ab"},
        {"classes": []},
        {"classes": [1]},
        {"classes": {"a": 1}},
        {"classes": None},
        {"size": 0},
        {"size": -1},
        {"size": "8"},
        {"size": 8.0},
        {"size": True},
        {"size": LARGEST + 1},
        {"channels": 0},
        {"channels": 4},
        {"channels": True},
        {"stored": -1},
        {"costs": [[0, 1]]},
        {"costs": [[0, 1], [1]]},
        {"costs": [[0, "x"], [1, 0]]},
        {"costs": 3},
        {"costs": [[0, float("inf")], [1, 0]]},
        {"target": [1]},
        {"target": {"columns": ["a"]}},
        {"target": {"columns": "ab", "encoding": {}, "state": {}}},
    ],
)
def test_what_isnt_one_is_refused(change: dict[str, Any]) -> None:
    given = {"classes": ["a", "b"], "size": 8, "channels": 1}
    Signature.from_json(given)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Signature.from_json({**given, **change})
