"""What holds for every net of the catalogue: its file opens as the same net, as its name and as a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import marked
from torch import Tensor, nn

import convsmith as cs
from convsmith import catalog
from convsmith.data.signature import Signature
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.trace import trace
from convsmith.nn.traced import Traced

# Made from other nets, with tests of their own.
OTHERS = ("timm", "fully_convolutional", "with_convolution", "source")
SIDES = {"alexnet": 63, "vgg": 32, "googlenet": 32, "highway": 16, "lenet": 16}
NAMES = [n for n in catalog.names("model") if n not in OTHERS] + ["timm:resnet10t"]
EVERY = pytest.mark.parametrize("name", marked(NAMES))
CLASSES = 5


def side(name: str) -> int:
    return next((size for start, size in SIDES.items() if name.startswith(start)), 33)


def build(name: str) -> nn.Module:
    """Narrow where a net has a width, with statistics as after some training."""
    torch.manual_seed(0)
    width = 32 if "highway" in name else 8
    given = {"num_classes": CLASSES, "in_channels": 3, "size": side(name), "width": width, "hidden": 24}
    net: nn.Module = catalog.build("model", name, **given)
    net.train()
    with torch.no_grad():
        net(images(name, 4))
    return net.eval()


def images(name: str, n: int) -> Tensor:
    return torch.randn(n, 3, side(name), side(name), generator=torch.Generator().manual_seed(n))


def predictor(net: nn.Module, size: int) -> Predictor:
    normalizer = Normalizer(torch.tensor([120.0, 110, 100]), torch.tensor([60.0, 61, 62]))
    return Predictor.of(net, normalizer, Signature(tuple("abcde"), size, 3))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    scale = max(1.0, float(expected.detach().abs().max()))
    return found.shape == expected.shape and found.allclose(expected, rtol=tolerance, atol=tolerance * scale)


def step(net: nn.Module, name: str) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Outputs in training mode, gradients, and state afterwards, of a copy in float64."""
    net = net.double().to(memory_format=torch.contiguous_format).train()
    net.zero_grad()
    torch.manual_seed(1)
    y = net(images(name, 3).double())
    (y * torch.linspace(-1, 2, y.numel()).reshape(y.shape)).sum().backward()
    gradients = {key: own.grad for key, own in net.named_parameters() if own.grad is not None}
    return y, gradients, net.state_dict()


def same_step(net: nn.Module, again: nn.Module, name: str) -> None:
    (y, gradients, state), (z, others, other_state) = step(net, name), step(again, name)
    assert close(z, y, 1e-9)
    assert set(others) == set(gradients)
    assert all(close(others[key], own, 1e-8) for key, own in gradients.items())
    assert all(close(other_state[key].double(), own.double(), 1e-9) for key, own in state.items())


@EVERY
def test_as_its_name(name: str, tmp_path: Path) -> None:
    net, size = build(name), side(name)
    own = predictor(net, size)
    own.save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    assert list(described["net"]) == ["spec", "size"]
    opened = cs.load(tmp_path)
    again = opened.module
    assert type(again) is type(net)
    assert all(again.state_dict()[key].equal(value) for key, value in net.state_dict().items())
    pixels = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8)
    assert close(opened.outputs(pixels), own.outputs(pixels))
    same_step(net, again, name)


@EVERY
def test_as_a_program(name: str) -> None:
    net: Any = build(name)
    again = Traced(*trace(net, (3, side(name), side(name)))).eval()
    assert set(again.state_dict()) == set(net.state_dict())
    for n in (1, 3):
        x = images(name, n)
        y = net(x)
        assert close(again(x), y)
        assert close(again.forward_head(again.forward_features(x)), y)
        vectors = net.forward_head(net.forward_features(x), pre_logits=True)
        assert close(again.forward_head(again.forward_features(x), pre_logits=True), vectors)
    head, theirs = net.get_classifier(), again.get_classifier()
    assert type(theirs) is type(head)
    assert theirs.weight.equal(head.weight)
    assert (again.num_classes, again.num_features) == (CLASSES, head.weight.shape[1])
    same_step(net, again, name)
    again.float().eval().reset_classifier(2)
    assert (again.num_classes, again(images(name, 2)).shape) == (2, (2, 2))
