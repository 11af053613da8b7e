"""Wiring of single nets that no count of parameters shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith.models.alexnet import alexnet
from convsmith.models.allcnn import allcnn
from convsmith.models.googlenet import Inception, googlenet
from convsmith.models.nin import nin
from convsmith.models.squeezenet import Fire
from convsmith.models.vgg import vgg
from convsmith.nn.normalization import LocalResponseNorm
from convsmith.nn.parts import Parts


def test_alexnet_has_two_branches_and_responds_after_two_activations() -> None:
    net = alexnet(size=63, num_classes=2)
    convolutions = [layer for layer in net.features if isinstance(layer, nn.Conv2d)]
    assert [layer.groups for layer in convolutions] == [1, 2, 1, 2, 2]
    order = [type(layer).__name__ for layer in net.features][:4]
    assert order == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert sum(isinstance(layer, LocalResponseNorm) for layer in net.modules()) == 2
    assert sum(isinstance(layer, nn.Dropout) for layer in net.modules()) == 2


def test_branches_of_alexnet_do_not_see_each_other() -> None:
    """The second convolution's first half has no gradient from the second half of its input."""
    torch.manual_seed(0)
    second = [layer for layer in alexnet(size=63).features if isinstance(layer, nn.Conv2d)][1]
    x = torch.randn(1, 96, 5, 5, requires_grad=True)
    second(x)[:, :128].sum().backward()
    assert x.grad is not None
    assert x.grad[:, :48].any()
    assert not x.grad[:, 48:].any()


def test_fire_is_squeeze_then_two_sizes_side_by_side() -> None:
    torch.manual_seed(0)
    fire = Fire(8, 3, 4, Parts())
    x = torch.randn(2, 8, 5, 5)
    squeezed = F.relu(F.conv2d(x, fire.squeeze.weight, fire.squeeze.bias))
    expected = torch.cat([fire.expand1x1(squeezed), fire.expand3x3(squeezed)], 1).relu()
    assert torch.allclose(fire(x), expected, atol=1e-6)


def test_inception_is_four_branches_side_by_side() -> None:
    torch.manual_seed(0)
    module = Inception(8, (2, 3, 4, 5, 6, 7), Parts(), large=5)
    x = torch.randn(1, 8, 6, 6)
    y = module(x)
    assert y.shape == (1, 2 + 4 + 6 + 7, 6, 6)
    conv = module.branch4[1].conv
    pooled = F.relu(F.conv2d(F.max_pool2d(x, 3, 1, 1), conv.weight, conv.bias))
    assert torch.allclose(y[:, -7:], pooled, atol=1e-6)
    assert module.branch3[1].conv.kernel_size == (5, 5)


def test_googlenet_divides_by_32_and_all_cnn_by_4() -> None:
    assert googlenet(num_classes=2).forward_features(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 7, 7)
    assert allcnn().forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 192, 6, 6)
    assert nin().forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 192, 8, 8)


def test_nin_and_all_cnn_score_by_averaging_a_map_for_each_class() -> None:
    torch.manual_seed(0)
    for net in (nin(num_classes=4), allcnn(num_classes=4)):
        net.eval()
        x = torch.randn(2, 3, 32, 32)
        maps = F.relu(net.fc(net.forward_features(x)))
        assert maps.shape[1] == 4
        assert torch.allclose(net(x), maps.mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize("pooling", [None, "max", "average"])
def test_nin_pools_by_the_largest_then_by_the_mean(pooling: str | None) -> None:
    """Against torch's functions; partial windows at the border are those of ceil_mode."""
    torch.manual_seed(0)
    net = nin(num_classes=3, pooling=pooling).eval()
    x = torch.randn(2, 3, 32, 32)
    y = x
    of = {
        "max": F.max_pool2d,
        "average": lambda x, *window, ceil_mode: F.avg_pool2d(x, *window, 0, ceil_mode),
    }
    poolings = [of[name] for name in ([pooling] * 2 if pooling else ["max", "average"])]
    for number, layer in enumerate(layer for layer in net.features if isinstance(layer, nn.Conv2d)):
        y = F.relu(F.conv2d(y, layer.weight, layer.bias, padding=layer.padding))
        if number in (2, 5):
            y = poolings.pop(0)(y, 3, 2, ceil_mode=True)
    assert torch.allclose(net.forward_features(x), y, atol=1e-5)


def test_vgg_without_hidden_layers_takes_any_size() -> None:
    net = vgg(11, width=8, hidden=0, size=32, num_classes=3).eval()
    assert net(torch.zeros(1, 3, 70, 45)).shape == (1, 3)
    assert net.num_features == 64


def test_only_the_last_stage_gets_the_convolution_by_name() -> None:
    from convsmith.models.resnet import resnet, small_resnet
    from convsmith.nn.convolution import DeformableConv2d

    for net, last in [
        (small_resnet(20, width=4, convolution="deformable"), "layer3"),
        (resnet(50, width=8, convolution="deformable"), "layer4"),
    ]:
        found = [name for name, layer in net.named_modules() if isinstance(layer, DeformableConv2d)]
        assert found
        assert all(name.startswith(last) for name in found)
    dilated = vgg(11, width=4, hidden=0, size=32, convolution="dilated")
    spread = [layer.dilation[0] for layer in dilated.features if isinstance(layer, nn.Conv2d)]
    assert spread == [1, 1, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("without", ["none", {"none": {}}])
def test_all_convolutional_net_drops_nothing_however_none_is_written(without: Any) -> None:
    net = allcnn(dropout=without)
    assert not [layer for layer in net.modules() if isinstance(layer, torch.nn.Dropout)]
