"""3x3 convolutions of a finished net exchanged: what it computes then, and which ones stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import ScaledStdConv2d, create_conv2d
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.errors import UserError
from convsmith.nn.convolution import DeformableConv2d
from convsmith.nn.swap_convolutions import swap_convolutions

SHAPE = (3, 48, 48)
# One after the other, side by side twice, residual, in groups, depthwise.
NETS = [
    {"vgg11": {"width": 8, "hidden": 8}},
    "googlenet",
    "squeezenet1_1",
    "timm:resnet10t",
    "timm:regnetx_002",
    "timm:mobilenetv3_small_050",
]


def build(spec: Any, size: int = 64) -> nn.Module:
    """With statistics and scales at random: timm's last normalization of a block begins at zero."""
    torch.manual_seed(0)
    net: nn.Module = catalog.build("model", spec, num_classes=3, in_channels=3, size=size)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return net.eval()


@pytest.mark.parametrize("spec", NETS, ids=str)
def test_with_deformable_ones_a_net_computes_the_same_until_it_learns(spec: Any) -> None:
    net = build(spec)
    x = torch.randn(2, 3, 64, 64)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    expected = net(x).detach()
    names = swap_convolutions(net, "deformable", (3, 64, 64))
    torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=1e-4)
    after = net.state_dict()
    assert all(after[key].equal(value) for key, value in before.items())
    assert set(after) - set(before) == {
        f"{name}.offsets.{key}" for name in names for key in ("weight", "bias")
    }
    net(x).square().sum().backward()
    moved = [net.get_submodule(name) for name in names]
    with torch.no_grad():
        for layer in moved:
            assert isinstance(layer, DeformableConv2d)
            layer.offsets.bias += layer.offsets.bias.grad.sign()  # type: ignore[union-attr]
    assert any(layer.offsets.bias.grad.any() for layer in moved)  # type: ignore[union-attr]
    assert not torch.allclose(net(x), expected, rtol=1e-3)


@pytest.mark.parametrize("spec", NETS, ids=str)
def test_dilated_ones_have_the_same_parameters_and_see_further(spec: Any) -> None:
    net = build(spec)
    x = torch.randn(2, 3, 64, 64)
    before, expected = dict(net.state_dict()), net(x)
    olds: Any = dict(net.named_modules())
    names = swap_convolutions(net, {"dilated": {"dilation": 3}}, (3, 64, 64))
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(after[key].equal(value) for key, value in before.items())
    for name in names:
        layer: Any = net.get_submodule(name)
        maps = torch.randn(1, layer.in_channels, 9, 9)
        wide = F.conv2d(maps, layer.weight, layer.bias, layer.stride, 3, 3, layer.groups)
        assert torch.allclose(layer(maps), wide, atol=1e-6)
        assert layer(maps).shape == olds[name](maps).shape
        assert layer.stride == olds[name].stride
    assert not torch.allclose(net(x), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("stages", "where"),
    [((1,), ("conv1", "layer1")), ((-1,), ("layer3",)), ((3, -2), ("layer2", "layer3")), ((), ())],
)
def test_stages_are_counted_from_both_ends(stages: tuple[int, ...], where: tuple[str, ...]) -> None:
    net = build({"resnet20": {"width": 4}}, 32)
    every = [name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)]
    names = swap_convolutions(net, "dilated", (3, 32, 32), stages)
    assert set(names) == {name for name in every if name.startswith(where)} if where else not names
    spread = [name for name in every if net.get_submodule(name).dilation == (2, 2)]
    assert set(spread) == set(names)


@pytest.mark.parametrize("stages", [(0,), (4,), (-4,), (1, 9)])
def test_stages_that_are_not_there_are_refused(stages: tuple[int, ...]) -> None:
    net = build({"resnet20": {"width": 4}}, 32)
    with pytest.raises(
        UserError, match="has 3 stages with 3x3 convolutions; give numbers from 1 to 3, or fro"
    ):
        swap_convolutions(net, "dilated", (3, 32, 32), stages)
    assert all(layer.dilation == (1, 1) for layer in net.modules() if isinstance(layer, nn.Conv2d))


def test_what_is_no_plain_convolution_stays() -> None:
    others: list[nn.Module] = [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=1, stride=(1, 2)),
        create_conv2d(4, 4, 3, padding="same", stride=2),
        ScaledStdConv2d(4, 4, 3, padding=1),
    ]
    for other in others:
        net = nn.Sequential(nn.Conv2d(3, 4, 1), other, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        with pytest.raises(
            UserError, match="this net has no plain 3x3 convolution that keeps the size of its"
        ):
            swap_convolutions(net, "dilated", SHAPE)
        assert net[1] is other


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def test_modes_types_and_frozen_weights_stay() -> None:
    net = small().double()
    net[1].weight.requires_grad_(False)
    net[0].eval()
    swap_convolutions(net, "deformable", SHAPE)
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert (net[0].training, net[1].training) == (False, True)
    assert (net[0].weight.requires_grad, net[1].weight.requires_grad) == (True, False)
    assert net[1].offsets.weight.requires_grad


def test_a_parametrized_weight_is_not_lost() -> None:
    net = small()
    nn.utils.prune.l1_unstructured(net[1], "weight", amount=1)
    with pytest.raises(UserError, match="1: the weight of this convolution is computed by L1Unstructured"):
        swap_convolutions(net, "dilated", SHAPE)
    assert net[0].dilation == (1, 1), "nothing was exchanged"


def test_a_technique_of_ones_own_that_takes_no_groups_is_refused_where_there_are_some() -> None:
    @technique("convolution", "groupless")
    def groupless(in_channels: int, out_channels: int, kernel_size: int, bias: bool = True) -> nn.Module:
        """A convolution that always sees all channels."""
        return nn.Conv2d(in_channels, out_channels, kernel_size, padding=1, bias=bias)

    net = small()
    with pytest.raises(UserError, match=r"1: convolution groupless has no weight of \(4, 2, 3, 3\)"):
        swap_convolutions(net, "groupless", SHAPE)
    plain: Tensor = net(torch.ones(1, *SHAPE))
    assert swap_convolutions(
        net[:1].append(nn.Flatten()).append(nn.Linear(4 * 48 * 48, 2)), "groupless", SHAPE
    )
    assert plain.shape == (1, 2)
