"""Each activation is the function that its card names, values and slopes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from convsmith import catalog
from convsmith.errors import UserError

X = np.linspace(-4, 4, 81)
FORMULAS: dict[str, tuple[object, Callable[[np.ndarray], np.ndarray]]] = {
    "relu": ("relu", lambda x: np.maximum(x, 0)),
    "leaky_relu": ({"leaky_relu": {"slope": 0.2}}, lambda x: np.where(x > 0, x, 0.2 * x)),
    "prelu": ({"prelu": {"init": 0.3}}, lambda x: np.where(x > 0, x, 0.3 * x)),
    "rrelu": ({"rrelu": {"lower": 0.1, "upper": 0.5}}, lambda x: np.where(x > 0, x, 0.3 * x)),
    "elu": ({"elu": {"alpha": 1.5}}, lambda x: np.where(x > 0, x, 1.5 * np.expm1(x))),
    "tanh": ("tanh", np.tanh),
    "sigmoid": ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
}


def test_every_activation_is_here() -> None:
    assert set(FORMULAS) == set(catalog.names("activation"))


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_values_and_slopes(name: str) -> None:
    spec, formula = FORMULAS[name]
    layer = catalog.build("activation", spec, channels=1).double().eval()
    x = torch.tensor(X, requires_grad=True)
    y = layer(x * 1)  # a copy: some work in place
    np.testing.assert_allclose(y.detach(), formula(X), atol=1e-12)
    y.sum().backward()
    smooth = np.abs(X) > 1e-3  # not at the kink
    numeric = (formula(X + 1e-6) - formula(X - 1e-6)) / 2e-6
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy()[smooth], numeric[smooth], atol=1e-6)


def test_prelu_learns_one_slope_a_channel() -> None:
    layer = catalog.build("activation", {"prelu": {"per_channel": True}}, channels=3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.1, 0.2, 0.3]))
    x = -torch.ones(2, 3, 4, 4)
    assert torch.allclose(layer(x), torch.tensor([-0.1, -0.2, -0.3]).view(1, 3, 1, 1).expand_as(x))
    layer(x).sum().backward()
    assert layer.weight.grad.tolist() == [-32.0] * 3


def test_rrelu_draws_uniform_slopes_in_training() -> None:
    """For each value apart, between the two bounds, evenly (Kolmogorov-Smirnov)."""
    torch.manual_seed(0)
    layer = catalog.build("activation", {"rrelu": {"lower": 0.2, "upper": 0.6}}, channels=1)
    slopes = -layer(-torch.ones(50_000))
    assert kstest(slopes.numpy(), "uniform", (0.2, 0.4)).pvalue > 0.001
    assert layer(torch.ones(5)).tolist() == [1.0] * 5


def test_rrelu_bounds_must_be_in_order() -> None:
    with pytest.raises(UserError, match="lower=0.5 exceeds upper=0.1; swap them"):
        catalog.build("activation", {"rrelu": {"lower": 0.5, "upper": 0.1}})
