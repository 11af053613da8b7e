"""Computed weights: read as a forward finds them, written so that a forward finds what was written."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from convsmith.errors import UserError
from convsmith.nn.computed import computed, copied, forms_of, named_layers, own_parameters, read, write_

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / 2


class Signs(nn.Module):
    """A scale of its own, and no inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, weight: Tensor) -> Tensor:
        return self.scale * weight.sign()


def layer_with(form: nn.Module | None, key: str = "weight") -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    if form is not None:
        parametrize.register_parametrization(layer, key, form)
    return layer


def used(layer: nn.Module) -> Tensor:
    """The weight by what the layer does to a basis, without its bias."""
    assert isinstance(layer, nn.Linear)
    return (layer(torch.eye(3)) - layer(torch.zeros(3, 3))).T.detach()


HOOKED = {
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=2),
    "pruned twice": lambda layer: [prune.random_unstructured(layer, "weight", amount=2) for _ in range(2)],
    "old weight norm": torch.nn.utils.weight_norm,
    "weight norm": parametrizations.weight_norm,
    "doubled": lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()),
    "old spectral norm": lambda layer: torch.nn.utils.spectral_norm(layer).eval(),
}


@pytest.mark.parametrize("way", HOOKED)
def test_reading_after_an_update_is_what_the_next_forward_uses(way: str) -> None:
    layer = layer_with(None)
    HOOKED[way](layer)
    layer(torch.ones(1, 3)).sum().backward()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.rand_like(parameter))
    found = read(layer)
    assert found.allclose(used(layer), atol=1e-6)
    found.sum().backward()
    assert all(p.grad is not None for p in computed(layer)["weight"])


@pytest.mark.parametrize("way", [way for way in HOOKED if "spectral" not in way])
def test_what_is_written_is_used(way: str) -> None:
    layer = layer_with(None)
    HOOKED[way](layer)
    wanted = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
    given = wanted.clone()
    write_(layer, given)
    assert given.equal(wanted)
    mask = (read(layer) != 0).float()
    assert used(layer).allclose(wanted * mask, atol=1e-5)
    assert int(mask.sum()) == {"pruned": 4, "pruned twice": 2}.get(way, 6)
    with torch.no_grad():
        given.fill_(9.0)
    assert used(layer).allclose(wanted * mask, atol=1e-5), "a copy is stored, not the tensor itself"


def test_parameters_behind_and_their_layers() -> None:
    layer = layer_with(Signs())
    parametrize.register_parametrization(layer, "bias", Doubled())
    net = nn.Sequential(layer, nn.ReLU())
    assert [name for name, _ in named_layers(net)] == ["", "0", "1"]
    assert set(map(id, own_parameters(layer))) == set(map(id, net.parameters()))
    assert {key: len(own) for key, own in computed(layer).items()} == {"weight": 2, "bias": 1}
    assert own_parameters(net) == []
    assert computed(nn.Linear(2, 2)) == {}


def test_names_of_forms() -> None:
    layer = layer_with(Doubled())
    parametrize.register_parametrization(layer, "weight", Signs(), unsafe=True)
    assert forms_of(layer) == "Doubled and Signs"
    assert forms_of(prune.l1_unstructured(nn.Linear(2, 2), "weight", amount=1)) == "L1Unstructured"


def test_a_form_without_inverse_is_refused_by_name() -> None:
    message = r"the weight of fc is computed by Signs, which can't take a new value \(.*right_inverse"
    with pytest.raises(UserError, match=message):
        write_(layer_with(Signs()), torch.zeros(2, 3), name="fc")


def test_a_value_that_a_form_cannot_hold_is_refused() -> None:
    layer = parametrizations.weight_norm(layer_with(None))
    with pytest.raises(UserError, match="gives numbers that are not finite"):
        write_(layer, torch.zeros(2, 3))


def test_pruned_layers_can_be_copied_and_the_copy_is_another() -> None:
    net = nn.Sequential(prune.l1_unstructured(layer_with(None), "weight", amount=2), nn.Linear(2, 2))
    net(torch.ones(1, 3)).sum().backward()
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(net)
    other = copied(net)
    assert used(other[0]).equal(used(net[0]))
    with torch.no_grad():
        other[0].weight_orig.mul_(3)
    assert used(other[0]).allclose(3 * used(net[0]))
    assert net[0].weight.requires_grad, "the net itself keeps its history"


def test_reading_twice_gives_the_same_also_where_a_forward_would_iterate() -> None:
    layer = torch.nn.utils.spectral_norm(layer_with(None)).train()
    vector = layer.weight_u.clone()
    assert read(layer).equal(read(layer))
    assert layer.weight_u.equal(vector)
