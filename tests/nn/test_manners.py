"""Classifier and features of any net, compared with what its forward does."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.models.lenet import lenet5
from convsmith.nn.manners import classifier, features, num_features, replace_classifier_, with_features


class Own(nn.Module):
    """A user's net: the classifier isn't defined last, and dropout comes before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.hidden = nn.Linear(6, 7)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(7, 4)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu().mean((2, 3))
        return F.log_softmax(self.out(self.drop(self.hidden(x).relu())), 1)


class Convolutional(nn.Module):
    """A user's net that ends in a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3, padding=1, bias=False)
        self.num_classes = 4

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x).relu()).mean((2, 3))


class Tokens(nn.Module):
    """A user's net whose classifier reads tokens (N, T, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.out = nn.Conv2d(3, 5, 4, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.patches(x).flatten(2).transpose(1, 2)).mean(1)


IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_users_own_nets() -> None:
    own, conv, tokens = Own(), Convolutional(), Tokens()
    assert classifier(own) is own.out
    assert classifier(conv) is conv.out
    assert [num_features(net) for net in (own, conv, tokens)] == [7, 5, 5]
    own.eval()
    hidden = own.hidden(own.norm(own.conv(IMAGES)).relu().mean((2, 3))).relu()
    maps = conv.body(IMAGES).relu().mean((2, 3))
    places = tokens.patches(IMAGES).mean((2, 3))
    for net, expected in ((own, hidden), (conv, maps), (tokens, places)):
        vectors, logits = with_features(net, IMAGES)
        assert vectors.allclose(expected, atol=1e-6)
        assert features(net, IMAGES).equal(vectors)
        assert logits.equal(net(IMAGES))
        assert not any(layer._forward_pre_hooks for layer in net.modules()), "no trace"


def test_features_and_logits_are_of_one_draw_of_the_dropout() -> None:
    torch.manual_seed(0)
    net = Own().train()
    vectors, logits = with_features(net, IMAGES)
    assert F.log_softmax(net.out(vectors), 1).equal(logits)
    assert (vectors == 0).any()


@pytest.mark.parametrize("parted", [False, True])
def test_noise_at_the_classifier_is_in_the_features(parted: bool) -> None:
    """Large margin takes an angle off its logit: both must be of the same vectors."""
    net = lenet5(in_channels=3, size=16) if parted else Own()
    net.eval()
    head = classifier(net)
    images = torch.randn(3, 3, 16, 16) if parted else IMAGES
    quiet, _ = with_features(net, images)
    head.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,))
    vectors, logits = with_features(net, images)
    assert vectors.equal(quiet + 1)
    expected = vectors @ head.weight.T + head.bias
    assert logits.allclose(expected if parted else F.log_softmax(expected, 1), atol=1e-5)
    assert not head._forward_hooks


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv3_small_050", "vgg11", "convnext_atto", "vit_tiny_patch16_224"]
)
def test_timms_nets_say_what_their_classifier_reads(name: str) -> None:
    """mobilenetv3's and vgg's heads widen the features."""
    side = 224 if name.startswith("vit") else 64
    net = timm.create_model(name, num_classes=5).eval()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        vectors, logits = with_features(net, images)
        assert vectors.shape == (2, num_features(net))
        assert logits.allclose(net(images), atol=1e-5)
        assert classifier(net)(vectors).allclose(net(images), atol=1e-5)
    head = replace_classifier_(net, 7)
    assert net(images).shape == (2, 7)
    assert classifier(net) is head


def test_torchvisions_nets() -> None:
    net = torchvision.models.mobilenet_v2(num_classes=5).eval()
    images = torch.randn(2, 3, 64, 64)
    vectors, logits = with_features(net, images)
    assert num_features(net) == 1280
    assert net.classifier[1](vectors).equal(logits)
    assert replace_classifier_(net, 2) is net.classifier[1]
    assert net(images).shape == (2, 2)


def test_a_replaced_classifier_is_like_the_old_one() -> None:
    own, conv = Own().double(), Convolutional()
    assert replace_classifier_(own, 9) is own.out
    assert own(IMAGES.double()).shape == (3, 9)
    assert own.out.weight.dtype == torch.double
    replace_classifier_(conv, 2)
    assert (conv.out.kernel_size, conv.out.padding, conv.out.bias) == ((3, 3), (1, 1), None)
    assert conv(IMAGES).shape == (3, 2)
    assert conv.num_classes == 2


def test_a_parametrized_classifier_is_found_and_its_successor_is_plain() -> None:
    net = catalog.build("model", "resnet20", num_classes=3, width=4)
    parametrizations.weight_norm(net.fc)
    assert classifier(net) is net.fc
    assert num_features(net) == 16
    new = replace_classifier_(net, 5)
    assert new is net.fc
    assert type(new) is nn.Linear


def test_a_net_whose_classifier_was_taken_off_says_its_features() -> None:
    for name in ("resnet20", "timm:mobilenetv3_small_050", "nin"):
        net = catalog.build("model", name, num_classes=3, in_channels=3, size=32)
        width = num_features(net)
        net.reset_classifier(0)
        assert num_features(net) == width
        replace_classifier_(net, 4)
        assert net(torch.randn(2, 3, 32, 32)).shape == (2, 4)


def test_mistakes_are_said() -> None:
    with pytest.raises(
        UserError, match="Sequential has no classifier: no nn.Linear and no nn.Conv2d; give it"
    ):
        classifier(nn.Sequential(nn.Flatten(), nn.ReLU()))
    with pytest.raises(UserError, match="put it in nn.Sequential"):
        replace_classifier_(nn.Linear(2, 3), 4)
    net = Own()
    net.unused = nn.Linear(2, 2)
    with pytest.raises(UserError, match="the forward of Own doesn't call its classifier Linear"):
        with_features(net, IMAGES)
    net.get_classifier = lambda: (net.out, net.hidden)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"Own.get_classifier\(\) gives a tuple, not one layer"):
        classifier(net)
    net.get_classifier = lambda: nn.Identity()  # type: ignore[assignment]
    with pytest.raises(UserError, match="Own doesn't say how many features it has"):
        num_features(net)
