"""Units: lengths and scaling against what each unit does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from convsmith.errors import UserError
from convsmith.nn.computed import read
from convsmith.nn.units import Scaler, along, lengths
from convsmith.nn.weights import places

LAYERS = [
    nn.Linear(5, 4),
    nn.Conv1d(4, 6, 3, groups=2),
    nn.Conv2d(4, 6, 3),
    nn.Conv3d(2, 3, 2),
    nn.ConvTranspose1d(4, 6, 3),
    nn.ConvTranspose2d(4, 6, 3, groups=2),
]


def unit_weights(layer: nn.Module, unit: int) -> Tensor:
    """What a unit's output depends on, as the gradient of the output by the weight is nonzero there."""
    spatial = layer.weight.ndim - 2
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    images = torch.rand(1, channels, *[5] * spatial) + 1
    (slope,) = torch.autograd.grad(layer(images)[0, unit].sum(), layer.weight)
    return layer.weight.detach()[slope != 0]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_lengths_are_of_what_each_unit_reads(layer: nn.Module) -> None:
    found = lengths(layer, layer.weight)
    assert len(found) == (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)
    for unit, length in enumerate(found):
        assert length.item() == pytest.approx(unit_weights(layer, unit).norm().item(), rel=1e-5)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_factors_reach_their_units(layer: nn.Module) -> None:
    before = lengths(layer, layer.weight).detach()
    scale = torch.rand(len(before)) + 0.5
    after = lengths(layer, layer.weight * along(layer, scale, layer.weight))
    assert after.allclose(before * scale, rtol=1e-5)


class Squared(nn.Module):
    """Not proportional; half the way has an inverse."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * weight.abs()


class SquaredWithInverse(Squared):
    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.sign() * weight.abs().sqrt()


class Rounded(nn.Module):
    """Has an inverse that gives a nearby weight only, as that of a codebook."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.round()

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


class FinelyRounded(nn.Module):
    """Nearly proportional, and nearly invertible."""

    def forward(self, weight: Tensor) -> Tensor:
        return (weight * 64).round() / 64

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


class LargestHalf(nn.Module):
    """A mask that depends on the weights: scaling a unit changes who is kept."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (weight.abs() >= weight.abs().median())


class Outer(nn.Module):
    """Two factors, of which the rows of the first are the units'."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left @ right

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        return u * s, v


WAYS = {
    "plain": lambda layer: None,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=3),
    "weight norm": parametrizations.weight_norm,
    "inverse": lambda layer: parametrize.register_parametrization(layer, "weight", SquaredWithInverse()),
    "factors": lambda layer: parametrize.register_parametrization(layer, "weight", Outer()),
}


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_scaling_multiplies_the_computed_units(way: str, zero: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    if zero and way != "weight norm":
        nn.init.zeros_(layer.weight)  # a new head: nothing to learn the form's nature from
    WAYS[way](layer)
    scaler = Scaler("weight", places(layer)["weight"])
    before = read(layer).detach().clone()
    scale = torch.tensor([1.0, 0.5, 0.25, 0.1])
    scaler(scale)
    assert read(layer).allclose(before * scale[:, None], atol=1e-6)


@pytest.mark.parametrize("form", [Squared, Rounded, FinelyRounded, LargestHalf])
@pytest.mark.parametrize("zero", [False, True])
def test_forms_that_cannot_be_scaled_are_refused(form: type[nn.Module], zero: bool) -> None:
    net = nn.Sequential(nn.Linear(5, 4))
    if zero:
        nn.init.zeros_(net[0].weight)
    parametrize.register_parametrization(net[0], "weight", form())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    message = f"max_norm can't scale the weights of 0: {form.__name__} computes them, is not proportional"
    with pytest.raises(UserError, match=message):
        Scaler("0.weight", places(net)["0.weight"], why="max_norm")
    assert all(value.equal(before[key]) for key, value in net.state_dict().items()), "tried on a copy"


@pytest.mark.parametrize("way", WAYS)
def test_frozen_parameters_stay(way: str) -> None:
    layer = nn.Linear(5, 4)
    WAYS[way](layer)
    scaler = Scaler("weight", places(layer)["weight"])
    assert not scaler.frozen
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    assert scaler.frozen
    scaler(torch.full((4,), 0.5))
    assert all(value.equal(before[key]) for key, value in layer.state_dict().items())


def test_one_frozen_parameter_stays_while_another_is_scaled() -> None:
    """A form of two lengths: both are proportional, the frozen one isn't touched."""

    class TwoLengths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lengths = nn.Parameter(torch.ones(4, 1))

        def forward(self, weight: Tensor) -> Tensor:
            return self.lengths * weight

    layer = nn.Linear(5, 4)
    parametrize.register_parametrization(layer, "weight", TwoLengths())
    for frozen in ("original", "0.lengths"):
        parameter = layer.get_parameter(f"parametrizations.weight.{frozen}")
        parameter.requires_grad_(False)
        kept, before = parameter.clone(), read(layer).detach().clone()
        Scaler("weight", places(layer)["weight"])(torch.full((4,), 0.5))
        assert parameter.equal(kept)
        assert read(layer).allclose(before / 2)
        parameter.requires_grad_(True)


def test_trying_draws_nothing_from_torchs_generator() -> None:
    layer = parametrizations.weight_norm(nn.Linear(5, 4))
    state = torch.get_rng_state()
    Scaler("weight", places(layer)["weight"])
    assert torch.get_rng_state().equal(state)
