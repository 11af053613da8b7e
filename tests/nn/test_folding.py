"""Folding: the same answers from a net with fewer layers, and the net itself untouched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convsmith import catalog
from convsmith.nn.folding import folded

NETS = {
    "resnet20": ({"width": 4}, 0),
    "resnet50": ({"width": 8}, 0),
    "googlenet": ({"size": 32}, 0),
    "vgg11": ({"size": 32, "width": 4, "hidden": 16, "norm": "batch"}, 0),
    "lenet5": ({"in_channels": 3, "size": 32}, 0),
    "timm:tf_efficientnet_lite0": ({}, 0),
    "timm:mobilenetv3_small_050": ({}, 0),
    # Normalization before the convolution: only those that follow one within a block can go.
    "timm:densenet121": ({}, 62),
    "timm:resnetv2_50": ({}, None),
    "timm:vit_tiny_patch16_224": ({}, 0),
}


def unsettled(net: nn.Module) -> nn.Module:
    """With statistics and scales as training leaves them, not the identity that they start from."""
    torch.manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, 0, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
    return net


def norms(net: nn.Module) -> int:
    return sum(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in net.modules())


@pytest.mark.parametrize("name", NETS)
def test_answers_stay(name: str) -> None:
    side = 224 if "vit" in name else 32
    options, left = NETS[name]
    net = unsettled(catalog.build("model", name, num_classes=3, **options))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    small = folded(net, (3, side, side))
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        wanted, given = net.eval()(images), small(images)
    torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    if left is not None:
        assert norms(small) == left
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())


class Forked(nn.Module):
    """The convolution's output is read twice, before and after the normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + self.norm(y)


class Twice(nn.Module):
    """One convolution, followed by the normalization once only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.norm(self.conv(x)))
        return y


class Tied(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.norm(self.first(x)))
        return y


@pytest.mark.parametrize("kind", [Forked, Twice, Tied])
def test_what_another_layer_reads_too_stays(kind: type[nn.Module]) -> None:
    net = unsettled(kind())
    small = folded(net, (3, 8, 8))
    images = torch.randn(2, 3, 8, 8)
    assert norms(small) == 1
    torch.testing.assert_close(small(images), net.eval()(images))


def test_weights_made_anew_in_each_pass_stay() -> None:
    conv = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3))
    net = unsettled(nn.Sequential(conv, nn.BatchNorm2d(3)))
    assert norms(folded(net, (3, 8, 8))) == 1


def test_a_normalization_by_the_batch_alone_stays() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    assert norms(folded(net, (3, 8, 8))) == 1


def test_fully_connected_layers() -> None:
    net = unsettled(nn.Sequential(nn.Flatten(), nn.Linear(48, 5, bias=False), nn.BatchNorm1d(5)))
    small = folded(net, (3, 4, 4))
    images = torch.randn(2, 3, 4, 4)
    assert norms(small) == 0
    torch.testing.assert_close(small(images), net.eval()(images))
