from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation

from convsmith.objectives.regression import AbsoluteError, SquaredError, Tukey, biweight


def test_l1_and_l2_are_numpys() -> None:
    draws = np.random.default_rng(0)
    a, b = draws.normal(size=(2, 6, 3))
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    assert AbsoluteError()(x, y).item() == pytest.approx(np.abs(a - b).mean())
    assert SquaredError()(x, y).item() == pytest.approx(((a - b) ** 2).mean())


def test_biweight_is_the_formula_and_flat_beyond_c() -> None:
    r = np.linspace(-10, 10, 401)
    c = 4.685
    expected = np.where(np.abs(r) <= c, c**2 / 6 * (1 - (1 - (r / c) ** 2) ** 3), c**2 / 6)
    x = torch.from_numpy(r).requires_grad_()
    y = biweight(x, c)
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-12)
    y.sum().backward()
    assert x.grad is not None
    slope = np.where(np.abs(r) <= c, r * (1 - (r / c) ** 2) ** 2, 0)
    np.testing.assert_allclose(x.grad.numpy(), slope, atol=1e-12)
    near = torch.tensor(0.01, dtype=torch.double)
    assert biweight(near, c).item() == pytest.approx(0.01**2 / 2, rel=1e-4), "near 0 half the square"


def test_tukey_scales_by_the_median_absolute_deviation_of_each_output() -> None:
    draws = np.random.default_rng(0)
    residual = draws.normal(size=(41, 2)) * [1.0, 100.0]
    deviation = median_abs_deviation(residual, scale="normal")
    expected = biweight(torch.from_numpy(residual / deviation), 4.685).mean()
    found = Tukey()(torch.from_numpy(residual), torch.zeros(41, 2).double())
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_an_outlier_has_no_gradient() -> None:
    x = torch.tensor([[0.1], [-0.2], [0.3], [0.0], [50.0]], requires_grad=True)
    Tukey()(x, torch.zeros(5, 1)).backward()
    assert x.grad is not None
    assert x.grad[4].item() == 0
    assert x.grad[:4].any()


def test_robust_to_gross_outliers() -> None:
    """A line through 10% absurd targets: Tukey finds it, squared error doesn't."""
    torch.manual_seed(0)
    x = torch.randn(200, 1)
    y = 2 * x + 0.05 * torch.randn(200, 1)
    y[:20] += 40
    slopes = {}
    for loss in (Tukey(), SquaredError()):
        w = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.Adam([w], lr=0.05)
        for _ in range(400):
            optimizer.zero_grad()
            loss(w[0] * x + w[1], y).backward()
            optimizer.step()
        slopes[type(loss).__name__] = w.detach()
    assert slopes["Tukey"].tolist() == pytest.approx([2, 0], abs=0.05)
    assert slopes["SquaredError"][1].item() > 1


def test_one_image_has_no_deviation() -> None:
    assert Tukey()(torch.ones(1, 1), torch.zeros(1, 1)).isfinite()
