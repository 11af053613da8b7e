from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from convsmith.errors import UserError
from convsmith.objectives.class_weight import confusion, effective_number, inverse
from convsmith.objectives.logit_adjustment import LogitAdjustment
from convsmith.objectives.weighted_cross_entropy import WeightedCrossEntropy

COUNTS = st.lists(st.integers(1, 5000), min_size=2, max_size=6)


@given(counts=COUNTS)
def test_inverse_is_scikit_learns_balanced(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert np.allclose(inverse(torch.tensor(counts)).numpy(), expected, rtol=1e-4)


@given(counts=COUNTS, beta=st.sampled_from([0.0, 0.5, 0.9, 0.999, 0.9999]))
def test_effective_numbers_by_the_formula(counts: list[int], beta: float) -> None:
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    scale = sum(counts) / sum(w * n for w, n in zip(raw, counts))
    assert effective_number(torch.tensor(counts), beta).tolist() == pytest.approx(
        [w * scale for w in raw], rel=1e-3
    )


def test_effective_numbers_end_at_inverse() -> None:
    counts = torch.tensor([5000, 300, 2])
    assert torch.allclose(effective_number(counts, 1 - 1e-9), inverse(counts), rtol=1e-4)


def test_weights_from_a_confusion(tmp_path: Path) -> None:
    file = tmp_path / "confusion.csv"
    file.write_text("true,a,b\na,9,1\nb,5,5\n")
    weights = confusion(torch.tensor([30, 10]), ["a", "b"], str(file))
    assert (weights[1] / weights[0]).item() == pytest.approx(6 / 2)
    assert (weights @ torch.tensor([30.0, 10.0])).item() == pytest.approx(40)
    with pytest.raises(UserError, match="there is no .*nowhere"):
        confusion(torch.tensor([30, 10]), ["a", "b"], str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="needs a run"):
        confusion(torch.tensor([30, 10]), ["a", "b"])


def test_weighted_cross_entropy_is_torchs_sum_over_the_images() -> None:
    counts = torch.tensor([100, 20, 5])
    loss = WeightedCrossEntropy(counts, list("abc"), smoothing=0.0)
    logits, target = torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 0, 1, 2])
    torchs = nn.CrossEntropyLoss(weight=inverse(counts), reduction="sum")(logits, target) / 7
    assert torch.allclose(loss(logits, target), torchs)
    assert torch.allclose(loss(logits, nn.functional.one_hot(target, 3).float()), torchs)


def test_logit_adjustment_finds_the_class_under_which_an_image_is_likeliest() -> None:
    """A world of three images and two classes: the minimum's argmax is that of p(image | class)."""
    likelihood = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])  # of each image, by class
    prior = torch.tensor([0.95, 0.05])
    joint = (likelihood * prior[:, None]).T  # (image, class)
    assert (joint.argmax(1) == 0).all(), "plain learning never names the rare class"
    loss = LogitAdjustment(torch.tensor([95, 5]))
    logits = nn.Parameter(torch.zeros(3, 2))
    optimizer = torch.optim.LBFGS([logits], max_iter=200)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total = sum(
            joint[image].sum() * loss(logits[image : image + 1], (joint[image] / joint[image].sum())[None])
            for image in range(3)
        )
        total.backward()
        return total

    optimizer.step(closure)
    difference = (logits[:, 1] - logits[:, 0]).detach()
    assert torch.allclose(difference, (likelihood[1] / likelihood[0]).log(), atol=1e-2)
    loss.eval()
    plain = nn.CrossEntropyLoss()
    assert torch.allclose(loss(logits, torch.tensor([0, 1, 1])), plain(logits, torch.tensor([0, 1, 1])))


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_the_power_of_confusion_weights(tmp_path: Path, power: float) -> None:
    file = tmp_path / "confusion.csv"
    file.write_text("true,a,b\na,9,1\nb,5,5\n")
    weights = confusion(torch.tensor([30, 10]), ["a", "b"], str(file), power=power)
    assert (weights[1] / weights[0]).item() == pytest.approx((6 / 2) ** power)


def test_a_class_without_images_weighs_as_one_with_a_single_one() -> None:
    """The others weigh what they weigh without it."""
    for weigh in (inverse, effective_number):
        weights, others = weigh(torch.tensor([10, 5, 0])), weigh(torch.tensor([10, 5]))
        assert torch.allclose(weights[:2], others)
        single = weigh(torch.tensor([10, 5, 1]))
        assert (weights[2] / weights[0]).item() == pytest.approx((single[2] / single[0]).item())
        assert weigh(torch.tensor([0, 0])).isfinite().all()


def test_logit_adjustment_of_no_strength_is_cross_entropy_even_without_images() -> None:
    loss = LogitAdjustment(torch.tensor([5, 5, 0]), tau=0.0)
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert torch.allclose(loss(logits, target), nn.functional.cross_entropy(logits, target))
