"""What holds for every initialization."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.nn.weights import weights

NAMES = [name for name in catalog.names("init") if name != "zero"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", ["resnet20", "vgg11", "timm:resnet10t"])
def test_every_weight_is_drawn_and_every_bias_is_zero(name: str, model: str) -> None:
    torch.manual_seed(0)
    net = catalog.build("model", model, num_classes=3, size=32, width=8, hidden=16)
    before = {key: value.clone() for key, value in weights(net).items()}
    catalog.build("init", name)(net)
    for key, value in weights(net).items():
        assert not value.equal(before[key]), key
        assert value.std() > 0
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            assert not layer.bias.any()
    assert net.eval()(torch.randn(2, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_seed_repeats(name: str) -> None:
    drawn = []
    for _ in range(2):
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(4, 5))
        torch.manual_seed(3)
        catalog.build("init", name)(net)
        drawn.append([p.clone() for p in net.parameters()])
    assert all(a.equal(b) for a, b in zip(*drawn))
