from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith import catalog


def test_he_keeps_gradients_and_xavier_keeps_linear_signals() -> None:
    """Through 30 layers of equal width the second moment stays within a factor of 3."""
    torch.manual_seed(0)
    for name, activation in (("he", nn.ReLU()), ("xavier", nn.Identity())):
        net = nn.Sequential(*[m for _ in range(30) for m in (nn.Linear(256, 256), activation)])
        catalog.build("init", name)(net)
        x = torch.randn(200, 256)
        ratio = (net(x).square().mean() / x.square().mean()).item()
        assert 1 / 3 < ratio < 3, name


def test_variances_are_the_papers() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 256, 3)
    catalog.build("init", "he")(layer)
    assert layer.weight.var().item() == pytest.approx(2 / (256 * 9), rel=0.02)
    catalog.build("init", "xavier")(layer)
    assert layer.weight.var().item() == pytest.approx(2 / ((64 + 256) * 9), rel=0.02)
    assert not layer.bias.any()
