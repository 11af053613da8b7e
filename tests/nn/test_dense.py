from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.nn.dense import conv_to_linear, linear_to_conv, to_fully_convolutional


def test_linear_to_conv_and_back_is_exact() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3 * 4 * 5, 7).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.double)
    conv = linear_to_conv(layer, (3, 4, 5))
    assert torch.allclose(conv(x).flatten(1), layer(x.flatten(1)), atol=1e-12)
    back = conv_to_linear(conv, (3, 4, 5))
    assert torch.allclose(back.weight, layer.weight, atol=1e-12)
    assert torch.allclose(back.bias, layer.bias, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 1, 1, 2), (1, 2, 2, 1)]
)
def test_any_convolution_is_a_matrix(
    bias: bool, stride: int, padding: int, dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride, padding, dilation, groups, bias).double()
    x = torch.randn(3, 4, 6, 7, dtype=torch.double)
    linear = conv_to_linear(conv, (4, 6, 7))
    assert torch.allclose(linear(x.flatten(1)), conv(x).flatten(1), atol=1e-12)


def slides(model: nn.Module, side: int, larger: int, step: int) -> None:
    """Equal at the net's own size; at a larger one each place is the net on the crop there, where the
    crops' borders see no padding: in the test, nets without padding, or the first place of each."""
    dense = to_fully_convolutional(model, (3, side, side))
    model.eval()
    x = torch.randn(2, 3, larger, larger, dtype=torch.double)
    with torch.no_grad():
        own = dense(x[:, :, :side, :side])
        assert own.shape[2:] == (1, 1)
        assert torch.allclose(own.flatten(1), model(x[:, :, :side, :side]), atol=1e-8)
        scores = dense(x)
        places = (larger - side) // step + 1
        assert scores.shape[2:] == (places, places)


@pytest.mark.slow
def test_vgg16_at_224_equals_and_at_384_slides() -> None:
    """The whole net, with its 4096 units: 5 steps of 32 pixels more give a map of 6 by 6."""
    torch.manual_seed(0)
    net = catalog.build("model", "vgg16", num_classes=10).eval()
    dense = to_fully_convolutional(net, (3, 224, 224))
    x = torch.randn(1, 3, 384, 384)
    with torch.inference_mode():
        own = dense(x[:, :, :224, :224])
        assert torch.allclose(own.flatten(1), net(x[:, :, :224, :224]), rtol=1e-3, atol=1e-4)
        scores = dense(x)
        assert scores.shape == (1, 10, 6, 6)
        # The classifier as it slides: its fully connected layers on each 7x7 window of the larger maps.
        maps = net.forward_features(x)
        for i, j in ((0, 0), (2, 5), (5, 3)):
            window = maps[:, :, i : i + 7, j : j + 7]
            assert torch.allclose(scores[:, :, i, j], net.forward_head(window), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "side", "step"),
    [
        ("lenet5", 28, 4),
        ("alexnet", 95, 32),
        ("vgg11", 64, 32),
        ("nin", 32, 4),
        ("allcnn", 32, 4),
        ("squeezenet1_1", 65, 16),
        ("resnet20", 32, 4),
        ("resnet18", 64, 32),
        ("highway_cnn10", 16, 4),
        ("lenet300_100", 12, 1),
    ],
)
def test_every_sort_of_head(name: str, side: int, step: int) -> None:
    torch.manual_seed(0)
    given = {"num_classes": 4, "in_channels": 3, "size": side, "width": 8, "hidden": 16}
    slides(catalog.build("model", name, **given).double(), side, side + 3 * step, step)


def test_without_padding_each_place_is_the_net_on_its_crop() -> None:
    torch.manual_seed(0)
    net = catalog.build("model", "lenet5", num_classes=3, size=20).double().eval()
    dense = to_fully_convolutional(net, (1, 20, 20))
    x = torch.randn(1, 1, 32, 36, dtype=torch.double)
    scores = dense(x)
    assert scores.shape == (1, 3, 4, 5)
    for i in range(4):
        for j in range(5):
            crop = x[:, :, 4 * i : 4 * i + 20, 4 * j : 4 * j + 20]
            assert torch.allclose(scores[0, :, i, j], net(crop)[0], atol=1e-10)


def test_torchvisions_and_timms_nets() -> None:
    torch.manual_seed(0)
    slides(torchvision.models.squeezenet1_1(num_classes=3).double(), 65, 97, 16)
    slides(timm.create_model("resnet18", num_classes=3).double(), 64, 128, 32)
    slides(timm.create_model("mobilenetv2_050", num_classes=3).double(), 64, 128, 32)


def test_norms_of_features_and_generalized_means_slide_too() -> None:
    torch.manual_seed(0)
    net = catalog.build(
        "model",
        {"resnet20": {"neck": "feature_norm", "global_pooling": "generalized_mean", "width": 4}},
        num_classes=3,
    ).double()
    net(torch.randn(8, 3, 32, 32, dtype=torch.double))
    slides(net, 32, 40, 4)


def test_the_model_is_left_alone_and_mistakes_are_said() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3] if x.sum() > 0 else x.flatten(1)[:, 3:6]

    net = catalog.build("model", "lenet5")
    to_fully_convolutional(net, (1, 28, 28))
    assert isinstance(net.fc1, nn.Linear)
    with pytest.raises(UserError, match="can't be made fully convolutional: symbolically traced"):
        to_fully_convolutional(Odd(), (1, 4, 4))
    with pytest.raises(UserError, match="takes the maximum of whole maps"):
        to_fully_convolutional(
            nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 2)), (3, 4, 4)
        )
    with pytest.raises(UserError, match="reads 10 values is no convolution over 2x2x2"):
        linear_to_conv(nn.Linear(10, 1), (2, 2, 2))


def test_what_lies_under_a_mask_goes_over_too() -> None:
    """A mask that is lifted later shows the weights that it hid."""
    layer = nn.utils.prune.random_unstructured(nn.Linear(18, 4), "weight", amount=0.5)
    hidden = layer.weight_orig.detach().clone()
    conv = linear_to_conv(layer, (2, 3, 3))
    assert conv.weight.flatten(1).equal(layer.weight)
    assert conv.weight_orig.flatten(1).equal(hidden)
    conv.weight_orig.data.zero_()
    assert layer.weight_orig.equal(hidden), "a tensor of its own"
