from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith import catalog
from convsmith.nn.norms import by_unit, total, vector_norm

MATRICES = np.random.default_rng(0).normal(size=(2, 3, 4, 5))


@pytest.mark.parametrize(
    ("name", "order"), [("column_sum", 1), ("row_sum", np.inf), ("spectral", 2), ("frobenius", "fro")]
)
def test_matrices_are_numpys_batched(name: str, order: object) -> None:
    expected = np.linalg.norm(MATRICES, ord=order, axis=(2, 3))  # type: ignore[call-overload]
    found = catalog.build("matrix_norm", name)(torch.from_numpy(MATRICES))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_sums_by_hand() -> None:
    a = torch.from_numpy(MATRICES)
    assert torch.allclose(catalog.build("matrix_norm", "column_sum")(a), a.abs().sum(-2).amax(-1))
    assert torch.allclose(catalog.build("matrix_norm", "row_sum")(a), a.abs().sum(-1).amax(-1))
    by_entry = catalog.build("matrix_norm", {"p": {"p": 2.0}})
    assert torch.allclose(by_entry(a), catalog.build("matrix_norm", "frobenius")(a))


@pytest.mark.parametrize(("name", "order"), [("l1", 1), ("l2", 2), ("max", np.inf)])
def test_vectors_are_numpys(name: str, order: float) -> None:
    expected = np.linalg.norm(MATRICES, ord=order, axis=2)
    found = catalog.build("vector_norm", name)(torch.from_numpy(MATRICES), dim=2)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@given(p=st.floats(0.5, 30), scale=st.floats(-12, 12))
@settings(max_examples=40, deadline=None)
def test_p_norm_is_the_formula_at_any_scale(p: float, scale: float) -> None:
    x = np.random.default_rng(1).normal(size=7) * 10**scale
    expected = np.sum(np.abs(x / 10**scale) ** p) ** (1 / p) * 10**scale
    assert vector_norm(torch.from_numpy(x), p).item() == pytest.approx(expected, rel=1e-9)


def test_p_norm_does_not_overflow_and_goes_to_the_largest() -> None:
    x = torch.tensor([1e30, -3e30, 2e30])
    assert vector_norm(x, 64).item() == pytest.approx(3e30, rel=1e-5)
    assert vector_norm(torch.zeros(3), 5).item() == 0
    y = torch.tensor([3.0, -4.0, 1.0], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: vector_norm(y, 3.5), (y,))


def test_many_tensors_and_units() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(3, 4), torch.randn(5)]
    for p in (1, 2):
        assert torch.allclose(total(tensors, p), torch.stack([t.flatten().norm(p) for t in tensors]))
    weight = torch.randn(6, 3, 2, 2)
    assert torch.allclose(by_unit(weight), torch.stack([w.norm() for w in weight]))
