"""What the calculator says, against the pixels that a value really depends on."""

from __future__ import annotations

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith import catalog
from convsmith.nn.convolution import DeformableConv2d
from convsmith.nn.normalization import LocalResponseNorm
from convsmith.nn.p_norm_pooling import PNormPool2d
from convsmith.nn.receptive_field import Field, Follow
from convsmith.nn.stochastic_pooling import StochasticPool2d
from convsmith.nn.summary import summarize
from convsmith.nn.swap import swap

# Average pooling and leaky units let every gradient through; widths are small since only wiring counts.
OPEN = {"activation": {"leaky_relu": {"slope": 0.7}}, "pooling": "average", "norm": "none"}
SIDES = {
    "alexnet": 227,
    "googlenet": 225,
    "vgg11": 160,
    "vgg13": 160,
    "vgg16": 256,
    "vgg19": 288,
    "resnet18": 225,
    "resnet34": 225,
    "resnet50": 225,
    "resnet101": 225,
    "resnet152": 225,
    "squeezenet1_0": 257,
    "squeezenet1_1": 257,
    "lenet5": 40,
}
NETS = [
    name
    for name in catalog.names("model")
    # Fully connected nets see everything; the deepest ones are the same blocks again.
    if name
    not in (
        "timm",
        "source",
        "fully_convolutional",
        "source",
        "lenet300_100",
        "resnet101",
        "resnet152",
        "resnet110",
        "resnet56",
        "vgg19",
    )
    and not name.startswith("highway1")
    and not name.startswith("highway2")
    and not name.startswith("highway5")
]


def predicted(net: nn.Module, features: nn.Module, image: Tensor) -> Field:
    follow = Follow(image)
    with torch.no_grad(), follow:
        out = features(image)
    field = follow.of(out)
    assert field is not None
    return field


def support(features: nn.Module, side: int, place: int) -> list[tuple[int, int]]:
    """First and last row and column of the image with a gradient from one place of the maps."""
    image = torch.rand(1, 3, side, side, dtype=torch.double, requires_grad=True)
    maps = features(image)
    mix = torch.rand(maps.shape[1], dtype=torch.double)
    (slope,) = torch.autograd.grad((maps[0, :, place, place] * mix).sum(), image)
    touched = slope[0].abs().sum(0) > 0
    return [(int(t.nonzero()[0]), int(t.nonzero()[-1])) for t in (touched.any(1), touched.any(0))]


class Features(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.net.forward_features(x)  # type: ignore[operator]
        return maps


def compare(net: nn.Module, side: int) -> None:
    features = Features(net.double().eval())
    field = predicted(net, features, torch.zeros(1, 3, side, side, dtype=torch.double))
    places = features(torch.zeros(1, 3, side, side, dtype=torch.double)).shape[-1]
    for place in {places // 2, 0}:
        for found, span in zip(support(features, side, place), field.spans):
            expected = (
                max(0, place * span.stride + span.low),
                min(side - 1, place * span.stride + span.high),
            )
            assert found == expected


@pytest.mark.parametrize("name", NETS)
def test_every_architecture(name: str) -> None:
    torch.manual_seed(0)
    side = SIDES.get(name, 96)
    arguments = {k: v for k, v in OPEN.items() if k in catalog.card("model", name).arguments}
    given = {"num_classes": 2, "in_channels": 3, "size": side, "width": 4, "hidden": 8}
    compare(catalog.build("model", {name: arguments}, **given), side)


@pytest.mark.parametrize("name", ["resnet26", "mobilenetv2_050", "densenet121", "efficientnet_lite0"])
def test_timms_nets(name: str) -> None:
    torch.manual_seed(0)
    net = catalog.build("model", f"timm:{name}", num_classes=2, size=160)
    swap(net, "activation", {"leaky_relu": {"slope": 0.7}}, (3, 160, 160))
    if any(isinstance(layer, nn.MaxPool2d) for layer in net.modules()):
        swap(net, "pooling", "average", (3, 160, 160))
    for layer in net.modules():  # some branches start at zero
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
    compare(net, 160)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 4, 3, dilation=3), nn.AvgPool2d(2), nn.Conv2d(4, 4, (3, 5), padding=(0, 4))],
        [nn.ZeroPad2d((1, 2, 3, 0)), nn.Conv2d(3, 4, 4, stride=3), nn.Conv2d(4, 4, 2, dilation=2)],
        [PNormPool2d(3, 2, 1, p=2.0), nn.Conv2d(3, 4, 3)],
        [StochasticPool2d(2).eval(), nn.Conv2d(3, 4, 3)],
        [LocalResponseNorm(3), nn.Conv2d(3, 4, 3), nn.LocalResponseNorm(3), nn.AvgPool2d(3, 2)],
        [nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.ChannelShuffle(2)],
    ],
)
def test_layers_in_a_row(layers: list[nn.Module]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*layers)
    net.forward_features = net.forward  # type: ignore[assignment]
    compare(net, 41)


def test_branches_shortcuts_and_slices() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 5, 2, 2), nn.Conv2d(3, 3, 3, 2, 1)

        def forward_features(self, x: Tensor) -> Tensor:
            y = torch.cat([self.a(x), self.b(x)], 1)
            return y[:, :3] + F.pad(x, (1, 0, 1, 0))[:, :, 1::2, 1::2]

    compare(Branches(), 31)


def test_published_sizes() -> None:
    """Araujo et al. 2019, table 1: VGG-16's last pooling 212 pixels, AlexNet's (v2) 195; their strides."""
    vgg = summarize(catalog.build("model", "vgg16", size=32, width=4, hidden=8), (3, 32, 32))
    last = [row for row in vgg.rows if row.kind == "MaxPool2d"][-1]
    assert last.receptive_field == (212, 212)
    assert last.stride == (32, 32)
    alexnet = summarize(catalog.build("model", "alexnet", size=63), (3, 63, 63))
    last = [row for row in alexnet.rows if row.kind == "MaxPool2d"][-1]
    assert last.receptive_field == (195, 195)
    # three 3x3 convolutions see what one of 7x7 does: the notes' example
    small = nn.Sequential(*[nn.Conv2d(1, 1, 3) for _ in range(3)])
    assert summarize(small, (1, 9, 9)).rows[-1].receptive_field == (7, 7)


def test_all_of_the_image_counts_after_global_pooling_a_gate_or_an_unknown_operation() -> None:
    net = catalog.build("model", "resnet20", width=4)
    rows = {row.name: row for row in summarize(net, (3, 32, 32)).rows}
    assert rows["layer3.2.act2"].receptive_field is not None
    assert rows["global_pool"].receptive_field is None
    assert rows["fc"].receptive_field is None
    gated = catalog.build("model", "timm:seresnet18", num_classes=2)
    rows = {row.name: row for row in summarize(gated, (3, 64, 64)).rows}
    assert rows["layer1.0.conv1"].receptive_field == (19, 19)
    assert rows["layer1.1.conv1"].receptive_field is None
    image = torch.zeros(1, 1, 8, 8)
    with torch.no_grad(), Follow(image) as follow:
        y = torch.fft.ifft2(torch.fft.fft2(image)).real
    assert follow.of(y).spans[0].size == float("inf")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "layer",
    [
        *[nn.LeakyReLU(inplace=inplace) for inplace in (False, True)],
        *[kind(inplace=True) for kind in (nn.ELU, nn.CELU, nn.SELU, nn.ReLU6, nn.Hardsigmoid, nn.Hardswish)],
        *[kind() for kind in (nn.ELU, nn.SELU, nn.GELU, nn.Hardtanh, nn.Hardsigmoid, nn.Mish, nn.Softplus)],
    ],
)
def test_activations_keep_the_field(layer: nn.Module) -> None:
    """Old versions of torch tag some of them as elementwise, new ones all."""
    image = torch.zeros(1, 1, 8, 8)
    with torch.no_grad(), Follow(image) as follow:
        out = layer(image + 0)
    assert follow.of(out) == Field()


def test_deformable_counts_as_with_zero_offsets() -> None:
    layer = nn.Sequential(DeformableConv2d(3, 4, 3, dilation=2))
    assert summarize(layer, (3, 9, 9)).rows[-1].receptive_field == (5, 5)


def test_a_convolution_along_the_channels_sees_the_whole_image() -> None:
    """Efficient channel attention (Wang et al. 2020) of timm."""
    net = timm.create_model("ecaresnet26t", num_classes=2)
    rows = {row.name: row for row in summarize(net, (3, 64, 64)).rows}
    assert rows["layer1.0.se.conv"].receptive_field is None
    assert rows["layer1.0.conv1"].receptive_field is not None
    assert rows["layer1.0.conv2"].receptive_field is not None


def test_a_norm_over_channels_looks_at_its_own_place() -> None:
    image = torch.zeros(1, 3, 8, 8)
    follow = Follow(image)
    with follow:
        over_channels = torch.linalg.vector_norm(image, 2, 1)
        over_all = torch.linalg.vector_norm(image, 2.0, (1, 2, 3))
    near, far = follow.of(over_channels), follow.of(over_all)
    assert near is not None
    assert near.axes == (1, 2)
    assert [span.size for span in near.spans] == [1, 1]
    assert far is not None
    assert all(math.isinf(span.size) for span in far.spans)
