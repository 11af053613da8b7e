"""From a net to a program: what stays a layer, what becomes an operation, what stays computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from conftest import Mask
from convsmith import catalog
from convsmith.errors import UserError
from convsmith.nn.trace import trace
from convsmith.nn.traced import Traced
from convsmith.program import Layer, Op, Program, Ref, Word, arrays

SHAPE = (3, 8, 8)


def kinds(program: Program) -> list[str]:
    return [program.layers[op.inputs[0]].kind if op.kind == "layer" else op.kind for op in program.ops]


class Free(nn.Module):
    """A forward of a test's own, with layers by name."""

    def __init__(self, way: Any, **layers: nn.Module) -> None:
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.way(self, x)
        return found


def test_layers_stay_layers_under_their_names() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4, momentum=0.2), nn.ReLU(), nn.Flatten()
    )
    program, tensors = trace(net, SHAPE)
    assert program.ops == tuple(
        Op("layer", (str(n), Ref(n)), shape=shape)
        for n, shape in enumerate([(4, 4, 4), (4, 4, 4), (4, 4, 4), (64,)])
    )
    conv, norm = program.layers["0"], program.layers["1"]
    assert conv.attributes["stride"] == (2, 2)
    assert conv.attributes["bias"] is False
    assert conv.arrays == {"weight": "0.weight"}
    assert norm.attributes["momentum"] == 0.2
    assert {name for name, sort in program.arrays.items() if sort == "buffer"} == {
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }
    assert tensors["0.weight"].data_ptr() == net[0].weight.data_ptr(), "no copy"


def test_own_layers_of_the_toolkit_are_techniques() -> None:
    net = nn.Sequential(catalog.build("norm", "local_response", channels=3), nn.Flatten(), nn.Linear(192, 2))
    program, _ = trace(net, SHAPE)
    assert program.layers["0"].kind == "norm:local_response"
    assert {program.arrays[name] for name in program.layers["0"].arrays.values()} <= {"constant"}


def test_functions_with_a_modules_weight_are_layers() -> None:
    conv = nn.Conv2d(3, 4, 3)
    net = Free(
        lambda self, x: F.conv2d(x, self.conv.weight, self.conv.bias, stride=2).mean((2, 3)), conv=conv
    )
    program, _ = trace(net, SHAPE)
    assert kinds(program) == ["Conv2d", "aten.mean.dim"]
    assert program.layers["conv"].attributes["stride"] == (2, 2)


def test_a_layer_called_twice_is_one() -> None:
    net = Free(lambda self, x: self.conv(self.conv(x)).mean((2, 3)), conv=nn.Conv2d(3, 3, 3, padding=1))
    program, _ = trace(net, SHAPE)
    assert [op.inputs[0] for op in program.ops if op.kind == "layer"] == ["conv", "conv"]
    assert list(program.layers) == ["conv"]


def test_dropout_by_function_follows_the_mode() -> None:
    program, _ = trace(Free(lambda self, x: F.dropout(x, 0.3, self.training).mean((2, 3))), SHAPE)
    assert program.ops[0] == Op(
        "aten.dropout.default", (Ref(0), 0.3, Word("mode", "training")), shape=(3, 8, 8)
    )
    program, _ = trace(Free(lambda self, x: F.dropout(x, 0.3, training=True).mean((2, 3))), SHAPE)
    assert program.ops[0].inputs == (Ref(0), 0.3, True), "always on"


def test_the_batchs_size_is_no_number() -> None:
    program, _ = trace(Free(lambda self, x: x.reshape(x.shape[0] * 3, 64).mean(1).reshape(-1, 3)), SHAPE)
    assert kinds(program)[:2] == ["aten.sym_size.int", "size.mul"]
    assert program.ops[2].inputs == (Ref(0), (Ref(2), 64))


def bounded(self: Free, x: Tensor) -> Tensor:
    """As the convolutions of a GPU do."""
    torch._check(x.shape[0] >= 2)
    torch._check(x.shape[0] <= 65535)
    return x.mean((2, 3))


def test_a_batch_may_be_bounded_but_not_fixed() -> None:
    program, _ = trace(Free(bounded), SHAPE)
    assert kinds(program) == ["aten.mean.dim"]
    with pytest.raises(UserError, match="can't be written"):
        trace(Free(lambda self, x: x.reshape(2, 3, 64).mean(2)), SHAPE)


def test_a_computed_weight_stays_computed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    parametrize.register_parametrization(net[0], "weight", Mask((net[0].weight > 0).float()))
    prune.l1_unstructured(net[2], "weight", amount=0.5)
    program, tensors = trace(net, SHAPE)
    assert kinds(program) == ["Conv2d", "Flatten", "Linear"]
    for name, original, mask in (
        ("0", "0.parametrizations.weight.original", "0.parametrizations.weight.0.mask"),
        ("2", "2.weight_orig", "2.weight_mask"),
    ):
        form = program.layers[name].forms["weight"]
        assert form.originals == (original,)
        assert set(arrays(tuple(op.inputs for op in form.ops))) == {original, mask}
        assert program.arrays[original] == "parameter"
        assert program.arrays[mask] == "buffer"
        assert tensors[mask].unique().tolist() == [0, 1]


def test_shared_weights_are_one_tensor() -> None:
    net: Any = Free(
        lambda self, x: self.b(self.a(x)).mean((2, 3)), a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1)
    )
    net.b.weight = net.a.weight
    program, tensors = trace(net, SHAPE)
    assert program.ties == {"b.weight": "a.weight"}
    assert set(tensors) == {"a.weight", "a.bias", "b.bias"}


def test_checks_and_what_only_they_read_are_left_out() -> None:
    program, _ = trace(Free(lambda self, x: x.mean((2, 3)) * x[x > -1].mean()), SHAPE)
    assert not [op for op in program.ops if "assert" in op.kind or op.kind.startswith("size.")]


def test_the_net_stays_as_it_was() -> None:
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3).eval(), nn.Conv2d(3, 2, 1), nn.Flatten()).train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trace(net, SHAPE)
    assert [module.training for module in net.modules()] == [True, True, False, True, True]
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


class If(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_refusal_names_the_layer() -> None:
    net = nn.Sequential()
    net.add_module("block", nn.Sequential(nn.Sequential(nn.ReLU(), If()), nn.Flatten()))
    with pytest.raises(UserError, match=r"layer block\.0\.1 \(If\) can't be written .*torch\.where"):
        trace(net, SHAPE)


def test_a_layer_whose_hook_changes_it_is_its_operations() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten())
    net[1].register_forward_hook(lambda module, given, output: output + 1)
    program, _ = trace(net, SHAPE)
    assert kinds(program) == ["Conv2d", "aten.relu.default", "aten.add.Tensor", "Flatten"]
    assert isinstance(program.layers["0"], Layer)


class _Odd(nn.Module):
    """A convolution, then whatever ``way`` does with its maps."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 4, 3, 2, 1)
        self.twice = nn.Bilinear(4, 4, 3)
        self.cosine = nn.CosineSimilarity(1)
        self.token = nn.Parameter(torch.ones(1, 1, 4))
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        vectors = maps.mean((2, 3))
        if self.way == "one value given twice":
            logits: Tensor = self.twice(vectors, vectors) + self.cosine(vectors, vectors)[:, None]
        elif self.way == "an output size":
            logits = self.fc((self.up(self.down(maps), output_size=maps.shape[2:]) + maps).mean((2, 3)))
        elif self.way == "len of the batch":
            tokens = torch.cat([self.token.expand(len(x), -1, -1), maps.flatten(2).transpose(1, 2)], 1)
            logits = self.fc(tokens.mean(1))
        else:
            logits = torch.stack([self.fc(own.mean((1, 2))) for own in maps])
        return logits


@pytest.mark.parametrize("way", ["one value given twice", "an output size", "len of the batch"])
def test_usual_idioms_travel(way: str) -> None:
    net, pictures = _Odd(way).eval(), torch.randn(5, 1, 8, 8)
    again = Traced(*trace(net, (1, 8, 8)))
    torch.testing.assert_close(again(pictures), net(pictures))
    assert isinstance(again.get_submodule("conv"), nn.Conv2d)


def test_a_layer_whose_forward_was_replaced_is_what_it_computes() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 3)).eval()
    first: Any = net[0]
    first.forward = lambda x: 2 * torch.nn.functional.conv2d(x, first.weight, first.bias)
    pictures = torch.randn(4, 1, 5, 5)
    torch.testing.assert_close(Traced(*trace(net, (1, 5, 5)))(pictures), net(pictures))


def test_a_loop_over_the_images_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"one number of images only; take images.shape\[0\]"):
        trace(_Odd("a loop"), (1, 8, 8))
