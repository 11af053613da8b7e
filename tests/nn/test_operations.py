"""Which operations a file may name."""

from __future__ import annotations

import pytest
import torch

from convsmith.nn.operations import (
    INSTEAD,
    MODES,
    PRIVATE,
    REFUSED,
    SIZES,
    constant,
    fixed,
    operation,
    plain,
    word,
)
from convsmith.program import Array, Ref, Word


def test_an_operation_is_torchs() -> None:
    x = torch.tensor([-1.0, 2.0])
    assert operation("aten.relu.default")(x).equal(x.relu())
    assert operation("aten.add.Tensor")(x, x, alpha=3).equal(4 * x)
    assert operation("aten._softmax.default")(x, 0, False).equal(x.softmax(0))


def test_a_view_that_the_memory_format_forbids_copies() -> None:
    maps = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError):
        maps.view(1, 24)
    assert operation("aten.view.default")(maps, [1, 24]).equal(torch.arange(24.0)[None])


@pytest.mark.parametrize("name", SIZES)
def test_arithmetic_on_sizes(name: str) -> None:
    expected = {"add": 9, "sub": 5, "mul": 14, "floordiv": 3, "truediv": 3.5, "mod": 1, "pow": 49}
    if name == "neg":
        assert operation("size.neg")(7) == -7
    elif name == "getitem":
        assert operation("size.getitem")([4, 5], 1) == 5
    else:
        assert operation(f"size.{name}")(7, 2) == expected[name]


@pytest.mark.parametrize(
    "kind",
    [
        *(f"aten.{name}.default" for name in REFUSED),
        "aten.from_file.out",
        "aten.set_.source_Storage",
        "aten._to_cpu.default",
        "aten._foreach_add.List",
        "aten.__and__.Tensor",
        "aten.name.default",
        "aten.__class__.default",
        "aten.relu.__init__",
        "aten.relu",
        "aten",
        "",
        "size.eval",
        "size.call",
        "size.__import__",
        "prim.print.default",
        "quantized.add.default",
        "os.system",
        "builtins.eval",
        "aten.relu.default.x",
        "aten..default",
        "aten.conv2d.nothing",
    ],
)
def test_what_a_file_may_not_name(kind: str) -> None:
    with pytest.raises(ValueError, match="is no operation that a model file may name"):
        operation(kind)


def test_the_lists_name_what_there_is() -> None:
    for kind in (*MODES, *INSTEAD, *INSTEAD.values()):
        operation(kind)
    for name in PRIVATE:
        assert hasattr(torch.ops.aten, name), name
    for kind, flag in MODES.items():
        assert flag in [argument.name for argument in operation(kind)._schema.arguments], kind


@pytest.mark.parametrize("value", [torch.float16, torch.channels_last, torch.strided, torch.int64])
def test_words_there_and_back(value: object) -> None:
    own = word(value)
    assert own is not None
    assert constant(own) is value
    assert plain((1, own)) == (1, value)


def test_other_words() -> None:
    assert word(torch.device("cuda:1")) == Word("device", "images"), "where the images are"
    assert word(3) is None
    for name in ("load", "nn", "float33", "__name__"):
        with pytest.raises(ValueError, match="torch has no dtype"):
            constant(Word("dtype", name))
    assert fixed((1, ("a", None)))
    for own in (Ref(0), Array("a"), Word("mode", "training")):
        assert not fixed((1, (own,)))
