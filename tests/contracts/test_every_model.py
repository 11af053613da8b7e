"""What holds for every net of the catalogue."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith import catalog

NAMES = [name for name in catalog.names("model") if name != "timm"] + ["timm:resnet10t"]


def build(name: str, **given: object) -> nn.Module:
    net: nn.Module = catalog.build("model", name, **{"num_classes": 5, "in_channels": 3, "size": 33, **given})
    return net


@pytest.mark.parametrize("name", NAMES)
def test_manners(name: str) -> None:
    """timm's interface, at an odd size; training reaches every parameter; the head can be replaced."""
    torch.manual_seed(0)
    net = build(name).eval()
    images = torch.randn(3, 3, 33, 33)
    logits = net(images)
    assert logits.shape == (3, 5)
    maps = net.forward_features(images)  # type: ignore[operator]
    assert torch.allclose(net.forward_head(maps), logits, atol=1e-5)  # type: ignore[operator]
    features = net.forward_head(maps, pre_logits=True)  # type: ignore[operator]
    assert features.shape == (3, net.num_features)
    assert torch.allclose(net.get_classifier()(features), logits, atol=1e-5)  # type: ignore[operator]
    net.train()(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    if not name.startswith("timm:"):  # timm's residual branches start at zero
        assert all(p.grad.any() for n, p in net.named_parameters() if n.endswith("weight"))  # type: ignore[union-attr]
    net.reset_classifier(2)  # type: ignore[operator]
    assert net(images).shape == (3, 2)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_net(name: str) -> None:
    torch.manual_seed(7)
    first = build(name).state_dict()
    torch.manual_seed(7)
    second = build(name).state_dict()
    assert all(value.equal(second[key]) for key, value in first.items())
