from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from convsmith.objectives.cross_entropy import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_formula(smoothing: float) -> None:
    draws = np.random.default_rng(0)
    logits, target = draws.normal(size=(5, 7)) * 10, draws.integers(0, 7, 5)
    q = (1 - smoothing) * np.eye(7)[target] + smoothing / 7
    expected = -(q * log_softmax(logits, 1)).sum(1).mean()
    found = CrossEntropy(smoothing=smoothing)(torch.from_numpy(logits), torch.from_numpy(target))
    assert found.item() == pytest.approx(expected, rel=1e-12)
