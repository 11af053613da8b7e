from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith.models.resnet import small_resnet
from convsmith.nn.weights import weights
from convsmith.objectives.penalties import L2


def test_l2_is_half_the_squared_norm_of_the_weights() -> None:
    net = small_resnet(20, width=2)
    expected = sum(p.detach().double().square().sum() for n, p in net.named_parameters() if p.ndim > 1)
    assert L2(weight=0.3)(net).item() == pytest.approx(0.15 * expected.item(), rel=1e-5)


def test_its_gradient_is_weight_decay() -> None:
    """One SGD step with the term equals one with torch's weight_decay on the same parameters."""
    torch.manual_seed(0)
    nets = [
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)) for _ in range(2)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    x = torch.randn(4, 1, 3, 3)
    term, decay = nets
    (term(x).square().sum() + L2(weight=0.1)(term)).backward()
    torch.optim.SGD(term.parameters(), lr=0.5).step()
    decay(x).square().sum().backward()
    decayed = list(weights(decay).values())
    plain = [p for p in decay.parameters() if all(p is not w for w in decayed)]
    torch.optim.SGD([{"params": decayed, "weight_decay": 0.1}, {"params": plain}], lr=0.5).step()
    for a, b in zip(term.parameters(), decay.parameters()):
        assert torch.allclose(a, b, atol=1e-6)


def test_gradient_by_finite_differences() -> None:
    layer = nn.Linear(3, 2).double()
    L2(weight=0.7)(layer).backward()
    with torch.no_grad():
        before = L2(weight=0.7)(layer).item()
        layer.weight[1, 2] += 1e-6
        slope = (L2(weight=0.7)(layer).item() - before) / 1e-6
    assert layer.weight.grad is not None
    assert layer.weight.grad[1, 2].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)
