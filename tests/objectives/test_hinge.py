from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import hinge_loss

import convsmith as cs
from conftest import make_images
from convsmith.objectives.hinge import Hinge, Ramp, hinge, margins, ramp


def draw(seed: int, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    draws = np.random.default_rng(seed)
    return torch.from_numpy(draws.normal(size=(9, classes)) * 2), torch.from_numpy(
        draws.integers(0, classes, 9)
    )


@pytest.mark.parametrize("seed", range(5))
def test_hinge_is_scikit_learns_crammer_singer(seed: int) -> None:
    logits, target = draw(seed)
    expected = hinge_loss(target.numpy(), logits.numpy(), labels=list(range(5)))
    assert Hinge()(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_margin_and_square_by_brute_force(seed: int) -> None:
    logits, target = draw(seed)
    losses = []
    for row, y in zip(logits.tolist(), target.tolist()):
        losses.append(max(0.0, 2.5 + max(s for k, s in enumerate(row) if k != y) - row[y]))
    assert Hinge(margin=2.5)(logits, target).item() == pytest.approx(np.mean(losses))
    assert Hinge(2.5, squared=True)(logits, target).item() == pytest.approx(np.mean(np.square(losses)))


@given(z=st.floats(-50, 50), s=st.floats(-5, 0.9))
@settings(max_examples=100, deadline=None)
def test_ramp_is_hinge_1_minus_hinge_s_and_bounded(z: float, s: float) -> None:
    at = torch.tensor(z, dtype=torch.double)
    assert ramp(at, s).item() == pytest.approx(hinge(at, 1).item() - hinge(at, s).item())
    assert ramp(at, s).item() == pytest.approx(min(1 - s, max(0.0, 1 - z)), abs=1e-12)


def test_outliers_beyond_s_have_no_gradient() -> None:
    logits = torch.tensor([[-9.0, 9.0], [0.2, 0.0]], requires_grad=True)
    target = torch.tensor([0, 0])
    (slope,) = torch.autograd.grad(Ramp(s=-1.0)(logits, target), logits)
    assert not slope[0].any(), "a wrong label far on the other side"
    assert slope[1].tolist() == [-0.5, 0.5]
    (slope,) = torch.autograd.grad(Hinge()(logits, target), logits)
    assert slope[0].any()


def test_default_s_follows_the_number_of_classes() -> None:
    logits, target = draw(0)
    assert Ramp()(logits, target).equal(Ramp(s=-0.25)(logits, target))


def test_margins_ignore_the_true_class_among_the_others() -> None:
    assert margins(torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([1])).item() == 3
    assert margins(torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([0])).item() == -4


def test_a_ramp_on_random_weights_is_remarked(tmp_path: Path) -> None:
    """Half of two classes' images, and a tenth of ten classes', have a gradient at random scores."""
    scores = torch.randn(4000, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    Ramp()(scores, torch.zeros(4000, dtype=torch.long)).backward()
    assert scores.grad is not None
    assert float((scores.grad != 0).any(1).float().mean()) == pytest.approx(0.12, abs=0.04)
    data = make_images(tmp_path / "data", classes=2, images=8)
    words = ["model={resnet20: {width: 2}}", "data.augment={}", "train.epochs=1", "train.device=cpu"]
    ramp = "objective={ramp: {}}"
    first = cs.train(data, out=tmp_path / "first", set=[*words, ramp])
    assert "ramp_from_scratch" in [finding["name"] for finding in first["findings"]]
    plain = cs.train(data, out=tmp_path / "plain", set=words)
    then = cs.train(data, out=tmp_path / "then", start_from=plain["run"], set=[*words[2:], ramp])
    for run in (plain, then):
        assert "ramp_from_scratch" not in [finding["name"] for finding in run["findings"]]
