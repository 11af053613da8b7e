"""What holds for every net of the catalogue."""

from __future__ import annotations

import math

import pytest
import torch
from nets import marked
from torch import nn

from convsmith import catalog
from convsmith.errors import UserError

# fully_convolutional and with_convolution are other nets in new clothes, with tests of their own; source is
# the net of --from.
OTHERS = ("timm", "fully_convolutional", "with_convolution", "source")
NAMES = [name for name in catalog.names("model") if name not in OTHERS] + ["timm:resnet10t"]
EVERY = pytest.mark.parametrize("name", marked(NAMES))
# The smallest side that the layers carry; 1 where the net subsamples with padding only.
SMALLEST = {
    "alexnet": 63,
    "allcnn": 9,
    "googlenet": 31,
    "highway_cnn10": 4,
    "highway_cnn19": 4,
    "highway_cnn31": 4,
    "lenet5": 16,
    "nin": 4,
    "squeezenet1_0": 21,
    "squeezenet1_1": 17,
    "vgg11": 32,
    "vgg13": 32,
    "vgg16": 32,
    "vgg19": 32,
}


def build(name: str, arguments: dict[str, object] | None = None, **given: object) -> nn.Module:
    """Narrow where a net has a width: the tests are about shape and wiring."""
    width = 32 if "highway" in name else 8
    given = {"num_classes": 5, "in_channels": 3, "size": 33, "width": width, "hidden": 24, **given}
    net: nn.Module = catalog.build("model", {name: arguments or {}}, **given)
    return net


def odd(name: str) -> int:
    return max(33, SMALLEST.get(name, 1) | 1)


@pytest.mark.parametrize("classes", [10, 1000])
@EVERY
def test_the_first_loss_is_that_of_guessing(name: str, classes: int) -> None:
    """Within 0.15 of ln K at any number of classes and side, at the net's own width, in training mode.

    The mean over all labels is taken, so that the images' own labels don't matter.
    """
    torch.manual_seed(0)
    side = {10: odd(name), 1000: 96}[classes]
    net = catalog.build("model", name, num_classes=classes, in_channels=3, size=side).train()
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(
            net(torch.randn(4, 3, side, side)), torch.full((4, classes), 1 / classes)
        )
    assert 0 <= loss.item() - math.log(classes) < 0.15


@EVERY
def test_no_class_is_cut_off_at_the_start(name: str) -> None:
    """Where the scores pass a rectifier, all lie above its bend, also those of a classifier put in later."""
    torch.manual_seed(0)
    model = build(name, size=64).eval()
    if not hasattr(model, "last_act"):
        return
    kept: list[torch.Tensor] = []
    model.last_act.register_forward_pre_hook(lambda _, scores: kept.append(scores[0].clone()))
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    assert (kept[0] > 0).float().mean() > 0.95
    model.reset_classifier(7)  # type: ignore[operator]
    assert (model.get_classifier().bias > 0).all()  # type: ignore[operator]


@EVERY
def test_manners(name: str) -> None:
    """timm's interface, at an odd size; training reaches every parameter; the head can be replaced."""
    torch.manual_seed(0)
    side = odd(name)
    net = build(name, size=side).eval()
    images = torch.randn(3, 3, side, side)
    logits = net(images)
    assert logits.shape == (3, 5)
    maps = net.forward_features(images)  # type: ignore[operator]
    assert torch.allclose(net.forward_head(maps), logits, atol=1e-5)  # type: ignore[operator]
    features = net.forward_head(maps, pre_logits=True)  # type: ignore[operator]
    assert features.shape == (3, net.num_features)
    head = net.get_classifier()  # type: ignore[operator]
    if isinstance(head, nn.Linear):
        assert torch.allclose(head(features), logits, atol=1e-5)
    else:
        assert isinstance(head, nn.Conv2d), "nets whose classifier is a convolution"
    net.train()(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    if not name.startswith("timm:"):  # timm's residual branches start at zero
        # A net with dropout or closed gates may leave a few units without a gradient, but no layer.
        assert all(p.grad.any() for n, p in net.named_parameters() if n.endswith("weight"))  # type: ignore[union-attr]
    net.reset_classifier(2)  # type: ignore[operator]
    assert net(images).shape == (3, 2)


@EVERY
def test_same_seed_same_net(name: str) -> None:
    torch.manual_seed(7)
    first = build(name, size=odd(name)).state_dict()
    torch.manual_seed(7)
    second = build(name, size=odd(name)).state_dict()
    assert all(value.equal(second[key]) for key, value in first.items())


@EVERY
def test_smallest_images(name: str) -> None:
    """The net carries them; below, it says so and what to do."""
    side = SMALLEST.get(name, 1)
    if name.startswith("timm:"):
        side = 32
    net = build(name, size=side, in_channels=1).eval()
    assert net(torch.zeros(2, 1, side, side)).isfinite().all()
    if name in SMALLEST:
        message = f"{name} needs images of at least {side} pixels, got {side - 1}; set data.size"
        with pytest.raises(UserError, match=message):
            build(name, size=side - 1)


@EVERY
def test_parts_by_name(name: str) -> None:
    """Every net takes activation, dropout and init; norm where it has convolutions. timm's, by a swap."""
    arguments: dict[str, object] = {"activation": "elu", "init": "xavier"}
    if not name.startswith("timm:"):
        arguments["dropout"] = "classic"
    if "norm" in catalog.card("model", catalog.base_name(name)).arguments:
        arguments["norm"] = "group"
    net = build(name, arguments, size=odd(name))
    kinds = {type(layer).__name__ for layer in net.modules()}
    assert "ELU" in kinds
    assert "ReLU" not in kinds
    assert "ClassicDropout" in kinds or name.startswith("timm:")
    if "norm" in arguments:
        assert "GroupNorm" in kinds
        assert "BatchNorm2d" not in kinds
        assert "LocalResponseNorm" not in kinds


@EVERY
@pytest.mark.parametrize("pooling", catalog.names("pooling"))
def test_pooling_by_name(name: str, pooling: str) -> None:
    if "pooling" not in catalog.card("model", catalog.base_name(name)).arguments:
        pytest.skip("no pooling inside")
    torch.manual_seed(0)
    net = build(name, {"pooling": pooling}, size=odd(name))
    y = net(torch.randn(2, 3, odd(name), odd(name)))
    assert y.shape == (2, 5)
    assert y.isfinite().all()
    if pooling != "max":
        assert not any(isinstance(layer, nn.MaxPool2d) for layer in net.modules())


@EVERY
@pytest.mark.parametrize("pair", [("activation", "sigmoid"), ("norm", "l2"), ("neck", "feature_norm")])
def test_every_argument_changes_the_net(name: str, pair: tuple[str, str]) -> None:
    if pair[0] not in catalog.card("model", catalog.base_name(name)).arguments:
        pytest.skip(f"takes no {pair[0]}")
    side = odd(name)
    images = torch.randn(2, 3, side, side)
    outputs = []
    for arguments in ({}, dict([pair])):
        torch.manual_seed(0)
        outputs.append(build(name, arguments, size=side)(images))
    assert not torch.allclose(*outputs)
