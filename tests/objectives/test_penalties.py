from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith.errors import UserError
from convsmith.models.resnet import small_resnet
from convsmith.nn.weights import weights
from convsmith.objectives.penalties import L1, L2, ElasticNet


def test_sums_over_the_weights_by_hand() -> None:
    net = small_resnet(20, width=2)
    own = [p.detach().double() for n, p in net.named_parameters() if p.ndim > 1]
    assert L2(weight=0.3)(net).item() == pytest.approx(
        0.15 * sum(p.square().sum().item() for p in own), rel=1e-5
    )
    assert L1(weight=0.3)(net).item() == pytest.approx(0.3 * sum(p.abs().sum().item() for p in own), rel=1e-5)


def test_elastic_net_is_l1_plus_l2() -> None:
    net = small_resnet(20, width=2)
    assert ElasticNet(l1=0.2, l2=0.7)(net).item() == pytest.approx(
        (L1(weight=0.2)(net) + L2(weight=0.7)(net)).item()
    )


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


@pytest.mark.parametrize("penalty", [L1(weight=0.7), L2(weight=0.7), ElasticNet(l1=0.3, l2=0.4)])
def test_gradient_by_finite_differences(penalty: nn.Module) -> None:
    layer = nn.Linear(3, 2).double()
    penalty(layer).backward()
    with torch.no_grad():
        before = penalty(layer).item()
        layer.weight[1, 2] += 1e-6
        slope = (penalty(layer).item() - before) / 1e-6
    assert layer.weight.grad is not None
    assert layer.weight.grad[1, 2].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_chosen_layers_and_everything() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    nn.init.ones_(net[0].weight)
    nn.init.ones_(net[2].weight)
    nn.init.ones_(net[0].bias)
    assert L1(weight=1.0, layers=["2"])(net).item() == 4
    assert L1(weight=1.0, layers=["0", "2"])(net).item() == 22
    assert L1(weight=1.0, layers=["0"], everything=True)(net).item() == 20
    with pytest.raises(UserError, match=r"no layer with weights is called 'cov\*'"):
        L1(layers=["cov*"])(net)


def test_l1_makes_useless_weights_vanish_l2_only_small() -> None:
    """Two inputs of which one says nothing: a proximal look at what sparsity means."""
    torch.manual_seed(0)
    x = torch.randn(500, 2)
    y = x[:, :1] + 0.1 * torch.randn(500, 1)
    useless = {}
    for penalty in (L1(weight=0.05), L2(weight=0.05)):
        layer = nn.Linear(2, 1, bias=False)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
        for _ in range(1500):
            optimizer.zero_grad()
            ((layer(x) - y).square().mean() + penalty(layer)).backward()
            optimizer.step()
        useless[type(penalty).__name__] = abs(layer.weight[0, 1].item())
    assert useless["L1"] < 1e-3


def test_a_net_without_weights_has_no_penalty() -> None:
    net = nn.BatchNorm2d(2)
    for penalty in (L1(), L2(), ElasticNet()):
        assert penalty(net).item() == 0
    assert L1(weight=1.0, everything=True)(net).item() == 2, "two scales of 1, two shifts of 0"


def test_a_wholly_masked_net_has_penalty_zero_and_gradient_zero() -> None:
    layer = nn.Linear(3, 2)
    nn.utils.prune.random_unstructured(layer, "weight", amount=1.0)
    for penalty in (L1(), L2(), ElasticNet()):
        value = penalty(layer)
        value.backward()
        assert value.item() == 0
        assert layer.weight_orig.grad is not None
        assert not layer.weight_orig.grad.any()
