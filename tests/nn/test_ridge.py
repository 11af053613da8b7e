"""The closed form against refitting without each image, against scikit-learn, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeCV
from torch import Tensor

from convsmith.nn import ridge as ridges
from convsmith.nn.ridge import PENALTIES, Moments, ridge, temperature


def drawn(images: int, width: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    targets = torch.arange(images) % classes
    centers = torch.randn(classes, width, generator=draws)
    return centers[targets] + torch.randn(images, width, generator=draws) + 3, targets


def refitted(x: Tensor, y: Tensor, weights: Tensor, penalty: float) -> Tensor:
    """Normal equations with an unpenalized constant, (D + 1, K)."""
    inputs = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    decay = torch.eye(x.shape[1] + 1).double() * penalty
    decay[-1, -1] = 0
    return torch.linalg.solve(
        inputs.T @ (weights[:, None] * inputs) + decay, inputs.T @ (weights[:, None] * y)
    )


@pytest.mark.parametrize("width", [8, 50])
@pytest.mark.parametrize("even", [True, False])
def test_leaving_out_needs_no_refitting(width: int, even: bool) -> None:
    """More images than features and fewer: both decompositions, with and without weights."""
    x, y = drawn(30, width)
    weights = torch.ones(30).double() if even else torch.rand(30).double() + 0.5
    found = ridge(x, y, None if even else weights)
    own, wanted = weights / weights.mean(), F.one_hot(y).double()
    whole = refitted(x, wanted, own, found.penalty)
    torch.testing.assert_close(whole[:-1].T, found.weight)
    torch.testing.assert_close(whole[-1], found.bias)
    for image in range(30):
        rest = [other for other in range(30) if other != image]
        without = refitted(x[rest], wanted[rest], own[rest], found.penalty)
        answer = x[image].double() @ without[:-1] + without[-1]
        torch.testing.assert_close(answer, found.left_out[image])


def test_the_penalty_is_scikit_learns() -> None:
    x, y = drawn(60, 12)
    spread = float((x.double() - x.double().mean(0)).square().sum())
    grid = [penalty * spread for penalty in PENALTIES]
    theirs = RidgeCV(alphas=grid).fit(x.double().numpy(), F.one_hot(y).double().numpy())
    found = ridge(x, y)
    assert found.penalty == pytest.approx(theirs.alpha_)
    np.testing.assert_allclose(found.weight.numpy(), theirs.coef_, rtol=1e-8)


def test_numbers_are_regressed_and_constant_features_do_no_harm() -> None:
    x = torch.randn(40, 5)
    x[:, 3] = 2.0
    aims = x[:, :2] * torch.tensor([2.0, -1.0]) + 7
    found = ridge(x, aims)
    torch.testing.assert_close(x.double() @ found.weight.T + found.bias, aims.double(), atol=1e-3, rtol=1e-3)
    same = ridge(torch.ones(6, 4), torch.tensor([0, 1, 0, 1, 0, 0]))
    torch.testing.assert_close(same.bias, torch.tensor([2 / 3, 1 / 3]).double())


def test_even_weights_lift_a_small_class() -> None:
    draws = torch.Generator().manual_seed(1)
    y = torch.tensor([0] * 95 + [1] * 5)
    x = torch.randn(100, 2, generator=draws) + y[:, None] * 1.5
    answers = ridge(x, y).left_out.argmax(1)
    weighted = ridge(x, y, (1 / y.bincount().double())[y]).left_out.argmax(1)
    assert (weighted[y == 1] == 1).sum() > (answers[y == 1] == 1).sum()


def test_the_temperature_is_at_the_least_cross_entropy() -> None:
    x, y = drawn(90, 6)
    answers = ridge(x, y).left_out
    best = temperature(answers, y)

    def loss(factor: float) -> float:
        smoothed = 30 / 31 * F.one_hot(y) + 1 / 93  # 90 images, and one more of each of three classes
        return float(F.cross_entropy(answers * factor, smoothed.double()))

    assert loss(best) < min(loss(best * 1.05), loss(best / 1.05))


def test_so_many_images_without_a_mistake_are_not_certain() -> None:
    answers = torch.eye(2)[torch.arange(20) % 2].double()
    sure = (answers * temperature(answers, torch.arange(20) % 2)).softmax(1).max()
    assert float(sure) == pytest.approx(21 / 22, abs=1e-3), "Platt's (N + 1) / (N + 2)"


def test_a_part_of_the_images_left_out_chooses_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(3000, 20)
    weights = torch.rand(3000, generator=torch.Generator().manual_seed(4)) + 0.5
    whole = ridge(x, y, weights)
    monkeypatch.setattr(ridges, "LOOKED_AT", 700)
    part = ridge(x, y, weights)
    assert whole.penalty / 3.2 < part.penalty < 3.2 * whole.penalty, "a step of the grid"
    assert len(part.rows) == 700
    same = part.left_out.argmax(1) == whole.left_out[part.rows].argmax(1)
    assert same.double().mean() > 0.99
    # With the same penalty the answers are the same: each by all images but itself.
    monkeypatch.setattr(ridges, "PENALTIES", (1e-3,))
    part = ridge(x, y, weights)
    monkeypatch.setattr(ridges, "LOOKED_AT", 3000)
    torch.testing.assert_close(part.left_out, ridge(x, y, weights).left_out[part.rows])


def test_sums_of_parts_are_the_sums_of_all() -> None:
    """Features far from zero, whose squares about zero would cancel in few digits, in parts of any size."""
    x, y = drawn(400, 10)
    x = x + 1e4
    moments = Moments(y)
    for part in x.split([1, 7, 192, 200]):
        moments.add(part)
    torch.testing.assert_close(moments.solved().weight, ridge(x, y).weight, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(moments.solved().left_out, ridge(x, y).left_out, rtol=1e-6, atol=1e-6)
