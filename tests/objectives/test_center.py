from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convsmith.objectives.center import CenterLoss
from convsmith.objectives.objective import build


def test_value_is_half_the_mean_squared_distance() -> None:
    draws = np.random.default_rng(0)
    x, y, c = draws.normal(size=(8, 3)), draws.integers(0, 4, 8), draws.normal(size=(4, 3))
    loss = CenterLoss(4, 3, weight=0.7).double().eval()
    loss.centers.copy_(torch.from_numpy(c))
    expected = 0.7 / 2 * np.mean(((x - c[y]) ** 2).sum(1))
    assert loss(torch.from_numpy(x), torch.from_numpy(y)).item() == pytest.approx(expected)


def test_centers_follow_the_papers_update() -> None:
    """Equation 4: delta c_j = sum [y_i = j] (c_j - x_i) / (1 + sum [y_i = j]); c_j -= alpha delta c_j."""
    draws = np.random.default_rng(1)
    loss = CenterLoss(4, 3, rate=0.3).double()
    centers = np.zeros((4, 3))
    for _ in range(5):
        x, y = draws.normal(size=(8, 3)), draws.integers(0, 3, 8)  # class 3 never comes
        loss(torch.from_numpy(x), torch.from_numpy(y))
        for j in range(4):
            own = x[y == j]
            centers[j] -= 0.3 * (centers[j] - own).sum(0) / (1 + len(own))
        np.testing.assert_allclose(loss.centers.numpy(), centers, atol=1e-12)
    assert not loss.centers[3].any()


def test_centers_are_no_parameters_and_stand_still_in_validation() -> None:
    loss = CenterLoss(2, 3)
    assert not list(loss.parameters())
    loss.eval()
    loss(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))
    assert not loss.centers.any()


def test_gradient_reaches_features_as_if_centers_were_constant() -> None:
    loss = CenterLoss(2, 3, weight=0.5)
    loss.centers.fill_(2.0)
    x = torch.ones(4, 3, requires_grad=True)
    loss(x, torch.zeros(4, dtype=torch.long)).backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, torch.full((4, 3), 0.5 * (1 - 2) / 4))


def test_features_cluster_by_class() -> None:
    """With the term, the spread within classes over that between them falls; cross-entropy alone keeps it."""
    ratios = []
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        body, head = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), nn.Linear(2, 3)
        y = torch.arange(150) % 3
        x = torch.randn(150, 8) + 1.5 * torch.eye(8)[y]
        objective, _ = build(
            {"cross_entropy": {}, "center": {"weight": weight}},
            facts={"num_classes": lambda: 3, "num_features": lambda: 2},
        )
        optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=0.01)
        for _ in range(200):
            features = body(x)
            terms = objective(input=head(features), features=features, target=y)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
        means = torch.stack([features[y == k].mean(0) for k in range(3)])
        ratios.append((features - means[y]).square().mean() / means.var(0).mean())
    assert ratios[1] < 0.7 * ratios[0]
