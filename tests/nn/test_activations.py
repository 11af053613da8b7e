"""Each activation is the function that its card names, values and slopes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from convsmith import catalog

X = np.linspace(-4, 4, 81)
FORMULAS: dict[str, tuple[object, Callable[[np.ndarray], np.ndarray]]] = {
    "relu": ("relu", lambda x: np.maximum(x, 0)),
    "leaky_relu": ({"leaky_relu": {"slope": 0.2}}, lambda x: np.where(x > 0, x, 0.2 * x)),
    "prelu": ({"prelu": {"init": 0.3}}, lambda x: np.where(x > 0, x, 0.3 * x)),
    "elu": ({"elu": {"alpha": 1.5}}, lambda x: np.where(x > 0, x, 1.5 * np.expm1(x))),
    "tanh": ("tanh", np.tanh),
    "sigmoid": ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
}


def test_every_activation_is_here() -> None:
    assert set(FORMULAS) == set(catalog.names("activation"))


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_values_and_slopes(name: str) -> None:
    spec, formula = FORMULAS[name]
    layer = catalog.build("activation", spec).double()
    x = torch.tensor(X, requires_grad=True)
    y = layer(x * 1)  # a copy: some work in place
    np.testing.assert_allclose(y.detach(), formula(X), atol=1e-12)
    y.sum().backward()
    smooth = np.abs(X) > 1e-3  # not at the kink
    numeric = (formula(X + 1e-6) - formula(X - 1e-6)) / 2e-6
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy()[smooth], numeric[smooth], atol=1e-6)
