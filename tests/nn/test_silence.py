"""Where activations are constant, found by asking them and not by their names."""

from __future__ import annotations

import pytest
import torch
from timm import layers as timm_layers
from torch import nn

from convsmith import catalog
from convsmith.nn.responses import activations, rectifiers, watch
from convsmith.nn.silence import cuts_off, ends, saturated
from convsmith.nn.swap import ACTIVATIONS

SPECIAL = {nn.PReLU: nn.PReLU(), nn.LeakyReLU: nn.LeakyReLU(0.2)}
EVERY = [
    *(SPECIAL.get(kind) or kind() for kind in (*ACTIVATIONS, nn.Sigmoid)),
    *(catalog.build("activation", name, channels=1) for name in catalog.names("activation")),
    *(nn.LeakyReLU(0.0), nn.Hardtanh(), nn.Hardtanh(0.0, 2.0), nn.ELU(0.5), nn.CELU(2.0)),
    timm_layers.Sigmoid(),
]


@pytest.mark.parametrize("layer", EVERY, ids=repr)
def test_zero_for_a_range_of_inputs_or_not(layer: nn.Module) -> None:
    inputs = torch.linspace(-6, 6, 1201, dtype=torch.double)
    with torch.no_grad():
        answers = layer.double().eval()(inputs.clone())
    assert cuts_off(layer) == (int((answers == 0).sum()) > 1)


@pytest.mark.parametrize("layer", EVERY, ids=repr)
def test_ends_are_what_far_inputs_give(layer: nn.Module) -> None:
    with torch.no_grad():
        low, high = layer.double().eval()(torch.tensor([-1e9, 1e9], dtype=torch.double)).tolist()
    known = ends(layer) or (None, None)
    assert known[1] == (pytest.approx(high) if high < 1e6 else None)
    # What falls to zero is silent or, as GELU and SiLU, has no range between its end and 0.
    falls = low > -1e6 and (low != 0 or isinstance(layer, nn.Sigmoid | timm_layers.Sigmoid))
    assert known[0] == (pytest.approx(low) if falls else None)


@pytest.mark.parametrize(
    ("layer", "most"), [(nn.Tanh(), 0.0396), (nn.Sigmoid(), 0.0099), (nn.ELU(2.0), 0.02), (nn.SELU(), 0.0176)]
)
def test_saturated_is_where_the_gradient_has_vanished(layer: nn.Module, most: float) -> None:
    inputs = torch.linspace(-8, 8, 4001, dtype=torch.double, requires_grad=True)
    answers = layer(inputs)
    (slopes,) = torch.autograd.grad(answers.sum(), inputs)
    near = saturated(answers.detach(), ends(layer) or (None, None))
    assert near.any()
    assert near.equal(slopes <= most + 1e-9)


def test_each_activation_is_counted_for_what_it_does() -> None:
    torch.manual_seed(0)
    images = 3 * torch.randn(40, 1, 6, 6)
    kinds = {"relu": nn.ReLU(), "leaky": nn.LeakyReLU(), "tanh": nn.Tanh(), "swish": nn.Hardswish()}
    for name, layer in kinds.items():
        net = nn.Sequential(nn.Conv2d(1, 3, 3), layer)
        with torch.no_grad():
            net[0].bias[2] = -100.0
            maps = net(images)
        own = watch(net, ["1"], iter(images.split(15)))["1"]
        assert own.dead == {"relu": 1, "leaky": None, "tanh": None, "swish": 1}[name]
        if name in ("relu", "swish"):
            assert own.zero_share == pytest.approx(float((maps == 0).float().mean()))
            assert own.saturated_share is None
        else:
            assert own.zero_share is None
        if name == "tanh":
            assert own.saturated_share == pytest.approx(float((maps.abs() >= 0.98).float().mean()))
    assert (maps < 0).any(), "a hard swish answers below zero, which is no silence"


def test_layers_that_are_no_activation_have_no_silence() -> None:
    own = watch(nn.Sequential(nn.Conv2d(1, 3, 3)), ["0"], iter([torch.randn(2, 1, 5, 5)]))["0"]
    assert (own.zero_share, own.saturated_share, own.dead) == (None, None, None)


def test_health_and_inspection_look_at_the_same_layers() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.ReLU6(), nn.Hardswish(), nn.PReLU(), nn.Sigmoid())
    assert activations(net) == ["1", "2", "3", "4"]
    assert rectifiers(net) == ["2", "3"]
