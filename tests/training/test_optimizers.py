from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convsmith import catalog

H = np.diag([1.0, 10.0])


def path(spec: dict, steps: int = 20) -> np.ndarray:
    """Iterates on f(w) = w'Hw/2 from (1, 1)."""
    w = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = catalog.build("optimizer", spec, params=[w])
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        (w @ torch.from_numpy(H) @ w / 2).backward()
        optimizer.step()
        found.append(w.detach().numpy().copy())
    return np.array(found)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(nesterov: bool, momentum: float) -> None:
    w, v, expected = np.ones(2), np.zeros(2), []
    for _ in range(20):
        g = H @ w
        v = momentum * v + g
        w = w - 0.05 * (g + momentum * v if nesterov else v)
        expected.append(w)
    spec = {"sgd": {"lr": 0.05, "momentum": momentum, "nesterov": nesterov}}
    np.testing.assert_allclose(path(spec), expected, rtol=1e-10)


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adamw", 0.1)])
def test_adam(name: str, decay: float) -> None:
    w, m, v, expected = np.ones(2), np.zeros(2), np.zeros(2), []
    for t in range(1, 21):
        g = H @ w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        step = 0.03 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
        w = w - step
        expected.append(w)
    arguments = {"lr": 0.03, "beta1": 0.8, "beta2": 0.95}
    if name == "adam":
        np.testing.assert_allclose(path({"adam": arguments}), expected, rtol=1e-7)
        return
    # Vectors aren't decayed, so adamw on a vector is adam; on a matrix, one step shrinks by lr * decay.
    np.testing.assert_allclose(path({"adamw": {**arguments, "weight_decay": decay}}), expected, rtol=1e-7)
    matrix = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    optimizer = catalog.build("optimizer", {"adamw": {"lr": 0.5, "weight_decay": decay}}, params=[matrix])
    matrix.grad = torch.zeros_like(matrix)
    optimizer.step()
    np.testing.assert_allclose(matrix.detach(), 1 - 0.5 * decay, rtol=1e-12)
