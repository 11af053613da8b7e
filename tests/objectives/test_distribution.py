from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from convsmith.objectives.cross_entropy import CrossEntropy
from convsmith.objectives.distribution import KLDivergence, divergence


def test_kl_is_scipys() -> None:
    draws = np.random.default_rng(0)
    logits, p = draws.normal(size=(6, 5)), draws.dirichlet(np.ones(5), 6)
    found = divergence(torch.from_numpy(logits), torch.from_numpy(p))
    np.testing.assert_allclose(found.numpy(), entropy(p, softmax(logits, 1), axis=1), rtol=1e-10)
    assert KLDivergence()(torch.from_numpy(logits), torch.from_numpy(p)).item() == pytest.approx(
        found.mean().item()
    )


def test_of_itself_is_zero_and_otherwise_positive() -> None:
    p = torch.rand(9, 4, dtype=torch.double).softmax(1)
    assert torch.allclose(divergence(p.log(), p), torch.zeros(9).double(), atol=1e-12)
    assert (divergence(p.log().roll(1, 1), p) > 0).all()


def test_zeros_in_the_target_cost_nothing_and_one_hot_is_cross_entropy() -> None:
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    one_hot = torch.eye(4)[target]
    assert torch.allclose(KLDivergence()(logits, one_hot), CrossEntropy()(logits, target))
    x = logits.clone().requires_grad_()
    KLDivergence()(x, one_hot).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
