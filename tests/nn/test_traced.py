"""From a program back to a net."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith.errors import UserError
from convsmith.nn.manners import classifier, features, num_features, replace_classifier_
from convsmith.nn.trace import trace
from convsmith.nn.traced import Traced
from convsmith.program import Array, Form, Layer, Op, Program, Ref

SHAPE = (3, 8, 8)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x + self.conv(x))
        return self.fc(self.drop(self.pool(x).reshape(x.shape[0], 3)))


def images(n: int = 2) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(n))


def again(net: nn.Module) -> Any:
    return Traced(*trace(net, SHAPE)).eval()


def test_a_program_written_by_hand() -> None:
    """y = fc(relu(x + x) over places), and a weight that is the tanh of what is stored."""
    weight, bias = torch.randn(2, 3), torch.randn(2)
    form = Form(("fc.raw",), (Op("aten.tanh.default", (Array("fc.raw"),)),), Ref(0))
    fc = Layer(
        "Linear", {"in_features": 3, "out_features": 2, "bias": True}, {"bias": "fc.bias"}, {"weight": form}
    )
    ops = (
        Op("aten.add.Tensor", (Ref(0), Ref(0))),
        Op("aten.relu.default", (Ref(1),)),
        Op("aten.mean.dim", (Ref(2), (2, 3))),
        Op("layer", ("fc", Ref(3))),
    )
    program = Program({"fc": fc}, ops, 4, {"fc.raw": "parameter", "fc.bias": "parameter"})
    net: Any = Traced(program, {"fc.raw": weight, "fc.bias": bias})
    expected = (2 * images()).relu().mean((2, 3)) @ weight.tanh().t() + bias
    assert net(images()).allclose(expected, atol=1e-6)
    assert [name for name, _ in net.named_parameters()] == ["fc.bias", "fc.parametrizations.weight.original"]
    assert isinstance(net.fc, nn.Linear)
    assert net.fc.weight.allclose(weight.tanh())


def test_forward_parts_where_maps_end() -> None:
    net = Residual().eval()
    own = again(net)
    maps = own.forward_features(images())
    assert maps.allclose(torch.relu(images() + net.conv(images())), atol=1e-6)
    assert own.forward_head(maps).allclose(net(images()), atol=1e-6)
    assert own.forward_head(maps, pre_logits=True).allclose(maps.mean((2, 3)), atol=1e-6)
    assert features(own, images()).allclose(maps.mean((2, 3)), atol=1e-6)
    assert (own.num_features, own.num_classes, num_features(own)) == (3, 4, 3)
    assert own.get_classifier() is own.fc is classifier(own)
    assert own.ends_in_classifier


def test_what_comes_after_the_classifier() -> None:
    own = again(nn.Sequential(Residual(), nn.LogSoftmax(1)).eval())
    assert own.get_classifier() is own.get_submodule("0.fc")
    assert not own.ends_in_classifier
    assert own(images()).exp().sum(1).allclose(torch.ones(2))


def test_a_net_without_a_classifier_says_so() -> None:
    own = again(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    for ask in (own.get_classifier, lambda: own.num_features, lambda: own.reset_classifier(2)):
        with pytest.raises(UserError, match="no layer that could be called its classifier"):
            ask()


@pytest.mark.parametrize("head", ["linear", "convolution"])
def test_a_fresh_classifier(head: str) -> None:
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)]
    if head == "convolution":
        tail = [nn.Conv2d(5, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    own = again(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), *tail).eval())
    before = own.forward_features(images())
    own.reset_classifier(2)
    assert own(images()).shape == (2, 2)
    assert own.forward_features(images()).equal(before)
    new = replace_classifier_(own, 7)
    assert own.get_classifier() is new
    assert own(images()).shape == (2, 7)


def test_a_replaced_layer_is_called() -> None:
    own = again(Residual().eval())
    own.conv = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        own.conv.weight.zero_()
        own.conv.bias.fill_(2.0)
    assert own.forward_features(images()).allclose((images() + 2).relu(), atol=1e-6)


def test_copies_are_apart() -> None:
    own = again(Residual().eval())
    other = copy.deepcopy(own)
    with torch.no_grad():
        other.fc.bias.add_(1)
    assert other(images()).allclose(own(images()) + 1, atol=1e-6)


def test_it_frees_maps_as_it_goes() -> None:
    """No more maps at a time than the longest way round needs."""
    seen: list[Any] = []
    net = nn.Sequential(*(nn.ReLU() for _ in range(6)), nn.Flatten())
    own = again(net)
    alive: list[int] = []
    for name, layer in own.named_children():
        if name.isdigit():
            layer.register_forward_hook(
                lambda module, given, output: (
                    seen.append(weakref.ref(output)),
                    alive.append(sum(s() is not None for s in seen)),
                    None,
                )[-1]
            )
    own(images())
    assert max(alive) <= 2


@pytest.mark.parametrize(
    "kind", ["Module", "Sequential", "ModuleList", "nothing", "modules", "Parameter", "optimizer:sgd"]
)
def test_what_is_no_layer(kind: str) -> None:
    program = Program({"a": Layer(kind)}, (Op("layer", ("a", Ref(0))),), 1, {})
    with pytest.raises((ValueError, TypeError)):
        Traced(program, {})


def test_tensors_that_dont_fit_their_layer() -> None:
    layer = Layer("Linear", {"in_features": 3, "out_features": 2}, {"weight": "w", "bias": "b"})
    program = Program({"a": layer}, (Op("layer", ("a", Ref(0))),), 1, {"w": "parameter", "b": "parameter"})
    Traced(program, {"w": torch.zeros(2, 3), "b": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"has a weight \(2, 3\), not \(3, 3\)"):
        Traced(program, {"w": torch.zeros(3, 3), "b": torch.zeros(2)})
    with pytest.raises(KeyError):
        Traced(program, {"w": torch.zeros(2, 3)})
