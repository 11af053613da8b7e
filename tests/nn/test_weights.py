from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from convsmith.errors import UserError
from convsmith.nn.weights import Memory, places, remembered, stored, weights


class Times(nn.Module):
    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


class Constant(nn.Module):
    """Nothing is stored: the weight is what it is."""

    def forward(self, weight: Tensor) -> Tensor:
        return torch.ones_like(weight)


def test_every_convolution_and_every_linear_layer_has_weights_and_nothing_else() -> None:
    kinds = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
    net = nn.Sequential(*[kind(2, 2, 1) for kind in kinds], nn.Linear(2, 2), nn.BatchNorm2d(2), nn.PReLU())
    assert list(weights(net)) == [f"{n}.weight" for n in range(7)]
    assert all(value is net[n].weight for n, value in enumerate(weights(net).values())), (
        "the parameter itself"
    )


def test_everything_has_biases_and_norms_too_computed_ones_as_used() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    parametrize.register_parametrization(net[0], "bias", Times(torch.zeros(2)))
    prune.l1_unstructured(net[1], "weight", amount=1)
    found = weights(net, everything=True)
    assert set(found) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert not found["0.bias"].any()
    assert found["1.weight"].count_nonzero() == 1
    assert {key: [id(p) for p in own] for key, own in stored(net, everything=True).items()} == {
        "0.weight": [id(net[0].weight)],
        "0.bias": [id(net[0].parametrizations.bias.original)],
        "1.weight": [id(net[1].weight_orig)],
        "1.bias": [id(net[1].bias)],
    }


def test_a_shared_weight_counts_once_two_masks_on_it_are_two_weights() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    net = nn.Sequential(a, b, a)
    assert list(weights(net)) == ["0.weight"]
    parametrize.register_parametrization(a, "weight", Times(torch.eye(2)))
    assert list(weights(net)) == ["0.weight", "1.weight"], "one of them has a mask"
    parametrize.register_parametrization(b, "weight", Times(torch.eye(2)))
    assert a.parametrizations.weight.original is b.parametrizations.weight.original
    assert list(weights(net)) == ["0.weight"]
    b.parametrizations.weight[0].factor.fill_(1.0)
    assert list(weights(net)) == ["0.weight", "1.weight"]


def test_a_layer_that_is_used_twice_counts_once_also_when_parametrized() -> None:
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Times(torch.ones(2, 2)))
    assert list(weights(nn.Sequential(layer, layer))) == ["0.weight"]


def test_each_weight_is_computed_once_a_call() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, weight: Tensor) -> Tensor:
            Counting.calls += 1
            return weight

    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Counting())
    Counting.calls = 0
    weights(nn.Sequential(layer, nn.Linear(2, 2)), ["0"])
    assert Counting.calls == 1
    stored(layer), places(layer)
    assert Counting.calls == 1, "names and parameters need no computation"


def test_equal_weights_over_nothing_stored_are_still_two() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    for layer in net:
        layer.weight.requires_grad_(False)
        value = layer.weight.detach()
        del layer.weight
        layer.register_buffer("weight", value)
        parametrize.register_parametrization(layer, "weight", Constant())
    assert list(weights(net)) == ["0.weight", "1.weight"]


def test_patterns_name_layers_not_their_parametrizations() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    parametrize.register_parametrization(net[1], "weight", Times(torch.ones(2, 2)))
    assert list(weights(net, ["1"])) == ["1.weight"]
    with pytest.raises(UserError, match=r"no layer with weights is called '1\.parametrizations\*'"):
        weights(net, ["1.parametrizations*"])


def test_places_are_walked_once_within_a_memory_and_follow_changes_outside() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    memory: Memory = {}
    with remembered(memory):
        first = places(net)
        net[1] = nn.ReLU()
        assert places(net) is first
        assert list(places(net, ["0"])) == ["0.weight"], "another question"
    assert list(places(net)) == ["0.weight"]
    with torch.no_grad():
        net[0].weight.fill_(3.0)
    with remembered(memory):
        assert weights(net)["0.weight"].sum() == 12, "values are read anew"
