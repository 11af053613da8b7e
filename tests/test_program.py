"""A program as data: there and back, and what it refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.program import WORDS, Array, Form, Layer, Op, Program, Ref, Word, arrays, refs

NAMES = st.text("abc_.-", min_size=1, max_size=6)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.builds(Word, st.sampled_from(WORDS), NAMES),
    st.just(Array("w")),
    st.just(Ref(0)),
)
ARGUMENTS = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
OPS = st.builds(
    Op,
    st.sampled_from(("aten.add.Tensor", "size.mul")),
    st.lists(ARGUMENTS, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(("dim", "other")), ARGUMENTS, max_size=2),
    st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=3).map(tuple)),
)


@given(st.lists(OPS, max_size=4).map(tuple), ARGUMENTS)
def test_there_and_back_through_text(ops: tuple[Op, ...], attribute: Any) -> None:
    form = Form(("w",), (Op("aten.tanh.default", (Array("w"),)),), Ref(0))
    layer = Layer("Conv2d", {"stride": attribute}, {"bias": "b"}, {"weight": form})
    program = Program({"a-b.0": layer}, ops, len(ops), {"w": "parameter", "b": "constant"}, {"v": "w"})
    text = json.dumps(program.to_json(), allow_nan=False)
    assert Program.from_json(json.loads(text)) == program


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_doesnt_know(value: float) -> None:
    program = Program({}, (Op("aten.clamp.default", (Ref(0), value)),), 1, {})
    again = Program.from_json(json.loads(json.dumps(program.to_json(), allow_nan=False)))
    found = again.ops[0].inputs[1]
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_what_a_program_cant_hold_is_refused_when_it_is_written() -> None:
    with pytest.raises(TypeError, match="a program can't hold"):
        Program({}, (Op("aten.relu.default", (object(),)),), 1, {}).to_json()


def valid() -> dict[str, Any]:
    form = Form(("w",), (Op("aten.tanh.default", (Array("w"),)),), Ref(0))
    layer = Layer("Conv2d", {}, {"bias": "b"}, {"weight": form})
    ops = (Op("layer", ("a", Ref(0))), Op("aten.add.Tensor", (Ref(1), Array("b"))))
    return Program({"a": layer}, ops, 2, {"w": "parameter", "b": "buffer"}, {"v": "w"}).to_json()


def edited(*way: Any) -> dict[str, Any]:
    *path, last, value = way
    given = valid()
    here: Any = given
    for key in path:
        here = here[key]
    here[last] = value
    return given


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (("ops", 0, "in", ["a", {"ref": 1}]), "operation 0 reads value 1, which isn't there yet"),
        (("ops", 0, "in", ["a", {"ref": -1}]), "reads value -1"),
        (("ops", 1, "with", {"alpha": {"ref": 2}}), "operation 1 reads value 2"),
        (("ops", 0, "in", ["b", {"ref": 0}]), "calls a layer that isn't there"),
        (("ops", 0, "in", []), "calls a layer that isn't there"),
        (("ops", 0, "in", ["a"]), "with something else than one value"),
        (("ops", 0, "in", ["a", {"ref": 0}, 1]), "with something else than one value"),
        (("output", 3), "no value 3"),
        (("output", -1), "no value -1"),
        (("output", True), "no whole number"),
        (("layers", "a..b", {"kind": "ReLU"}), "no name of a layer"),
        (("layers", "", {"kind": "ReLU"}), "no name of a layer"),
        (("layers", "a.__class__", {"kind": "ReLU"}), "no name of a layer"),
        (("arrays", "__dict__", "buffer"), "no name of a layer"),
        (("arrays", "b", "code"), "a parameter, a buffer or a constant"),
        (("layers", "a", "arrays", {"bias": "c"}), "there is no tensor 'c'"),
        (("layers", "a", "forms", "weight", "originals", ["c"]), "there is no tensor 'c'"),
        (("layers", "a", "forms", "weight", "originals", []), "no tensor that it is computed from"),
        (("layers", "a", "forms", "weight", "result", {"ref": 1}), "reads a value that isn't there"),
        (("ops", 1, "in", [{"array": "c"}]), "there is no tensor 'c'"),
        (("ties", {"v": "c"}), "tied to 'c'"),
        (("ties", {"w": "w"}), "tied to 'w'"),
        (("ops", 1, "in", [{"ref": 0, "array": "b"}]), "one sort"),
        (("ops", 1, "in", [{"code": "b"}]), "'code' is no sort of argument"),
    ],
)
def test_what_isnt_one_is_refused(way: tuple[Any, ...], message: str) -> None:
    Program.from_json(valid())
    with pytest.raises((ValueError, TypeError), match=message):
        Program.from_json(edited(*way))


def test_what_an_argument_names() -> None:
    argument = (Ref(3), (Array("x"), 2, (Ref(1), Array("y"))), Word("dtype", "float32"))
    assert refs(argument) == [3, 1]
    assert arrays(argument) == ["x", "y"]


def test_it_needs_no_torch() -> None:
    code = "import sys, convsmith.program; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
