from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.nn.slopes import learned_slopes


def test_slopes_that_were_learned() -> None:
    """Fitted to |x| the slope is -1, to x it is 1; per channel each its own."""
    layer = nn.PReLU(2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack([x[:, 0].abs(), x[:, 1]], 1)
    for _ in range(100):
        optimizer.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimizer.step()
    assert learned_slopes(nn.Sequential(layer))["0"].tolist() == pytest.approx([-1, 1], abs=1e-3)


def test_by_depth_one_for_each_layer_of_a_net() -> None:
    spec = {"resnet20": {"width": 4, "activation": {"prelu": {"init": 0.1, "per_channel": True}}}}
    found = learned_slopes(catalog.build("model", spec, num_classes=3, in_channels=3, size=16))
    assert [len(own) for own in found.values()] == [4] * 7 + [8] * 6 + [16] * 6
    assert all((own == torch.tensor(0.1)).all() for own in found.values())
