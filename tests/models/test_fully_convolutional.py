"""A classifier that slides: equal at the size it was made for, the mean over all places at larger ones."""

from __future__ import annotations

import pytest
import torch

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.models.fully_convolutional import FullyConvolutional, converted, fully_convolutional


def pair(name: str, size: int, **given: object) -> tuple[torch.nn.Module, FullyConvolutional]:
    torch.manual_seed(1)
    net = catalog.build("model", name, num_classes=4, in_channels=3, size=size, **given).eval()
    state = converted(net, (3, size, size))
    slid = fully_convolutional(4, 3, size, model={name: dict(given)}, trained_size=size).eval()
    slid.load_state_dict(state)
    return net, slid


@pytest.mark.parametrize(
    ("name", "size", "given"),
    [("lenet5", 28, {}), ("lenet5", 32, {"norm": "batch"}), ("vgg11", 32, {"width": 4, "hidden": 16})],
)
def test_equal_at_its_own_size(name: str, size: int, given: dict[str, object]) -> None:
    net, slid = pair(name, size, **given)
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(slid(images), net(images), atol=1e-5, rtol=1e-4)
    count = [sum(p.numel() for p in model.parameters()) for model in (net, slid)]
    assert count[0] == count[1]


def test_the_mean_over_the_places_of_a_larger_image() -> None:
    """LeNet-5 subsamples by 4: on 36 pixels it looks at 28 x 28 windows 4 pixels apart, 3 x 3 of them."""
    net, slid = pair("lenet5", 28)
    image = torch.randn(1, 3, 36, 36)
    windows = [net(image[:, :, y : y + 28, x : x + 28]) for y in (0, 4, 8) for x in (0, 4, 8)]
    torch.testing.assert_close(slid(image), torch.stack(windows).mean(0), atol=1e-5, rtol=1e-4)


def test_manners() -> None:
    _, slid = pair("lenet5", 28)
    images = torch.randn(2, 3, 40, 40)
    features = slid.forward_head(slid.forward_features(images), pre_logits=True)
    assert features.shape == (2, slid.num_features)
    torch.testing.assert_close(slid.get_classifier()(features), slid(images))
    slid.train()(images).square().sum().backward()
    assert all(p.grad is not None for p in slid.parameters())
    slid.reset_classifier(7)
    assert slid(images).shape == (2, 7)


def test_refusals() -> None:
    with pytest.raises(UserError, match="a net for 28 pixels can't slide over 20; set data.size"):
        fully_convolutional(size=20)
    with pytest.raises(UserError, match="is fully convolutional as it is"):
        fully_convolutional(in_channels=3, size=32, model="nin", trained_size=32)
