from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convsmith as cs
from convsmith.errors import UserError
from convsmith.models.lenet import lenet5
from convsmith.models.nin import nin
from convsmith.objectives.large_margin import LargeMarginSoftmax, psi
from convsmith.training.loop import Fit


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_psi_is_the_papers_and_continuous_and_decreasing(m: int) -> None:
    theta = np.linspace(0, math.pi, 20_001)
    k = np.minimum((theta * m / math.pi).astype(int), m - 1)
    expected = (-1.0) ** k * np.cos(m * theta) - 2 * k
    found = psi(torch.from_numpy(np.cos(theta)), m).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    steps = np.diff(found)
    assert steps.max() <= 1e-12, "decreasing"
    assert np.abs(steps).max() < 2 * m * math.pi / 20_000, "continuous"
    assert found[0] == pytest.approx(1)
    assert found[-1] == pytest.approx(1 - 2 * m)


def logits_and_loss(loss: nn.Module, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, dict[str, object]]:
    torch.manual_seed(seed)
    head = nn.Linear(6, 4).double()
    x, y = torch.randn(7, 6, dtype=torch.double, requires_grad=True), torch.randint(4, (7,))
    seen = {"input": head(x), "features": x, "target": y, "head": head}
    return seen["input"], loss(**seen), seen


def test_m_1_is_cross_entropy() -> None:
    logits, value, seen = logits_and_loss(LargeMarginSoftmax(m=1))
    assert torch.allclose(value, F.cross_entropy(logits, seen["target"]))  # type: ignore[arg-type]


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("start", [0.0, 5.0])
def test_formula_by_angles(m: int, start: float) -> None:
    _, value, seen = logits_and_loss(LargeMarginSoftmax(m=m, start=start, decay=0.0))
    head, x, y = seen["head"], seen["features"].detach().numpy(), seen["target"].numpy()  # type: ignore[attr-defined]
    w, b = head.weight.detach().numpy(), head.bias.detach().numpy()  # type: ignore[attr-defined]
    losses = []
    for row, label in zip(x, y):
        scores = w @ row + b
        length = np.linalg.norm(w[label]) * np.linalg.norm(row)
        theta = math.acos(np.clip(w[label] @ row / length, -1, 1))
        k = int(theta * m / math.pi)
        margin = (-1) ** k * math.cos(m * theta) - 2 * k
        scores[label] = length * (start * math.cos(theta) + margin) / (1 + start) + b[label]
        losses.append(np.log(np.exp(scores).sum()) - scores[label])
    assert value.item() == pytest.approx(np.mean(losses))


def test_lambda_follows_the_share_of_the_training_and_not_below_its_end() -> None:
    """(1 + 0.1 * 20,000 * share)^-2, whatever the number of updates."""
    loss = LargeMarginSoftmax(m=2, start=100.0, end=3.0, decay=0.1, power=2.0)
    assert loss.strength(0.0).item() == 100
    assert loss.strength(torch.tensor(0.001)).item() == pytest.approx(100 / 9)
    assert loss.strength(0.5).item() == 3
    _, _, seen = logits_and_loss(loss)
    for share in (0.0, 0.001, 1.0):
        own = LargeMarginSoftmax(m=2, start=loss.strength(share).item(), decay=0.0)
        assert loss(**seen, progress=share).item() == pytest.approx(own(**seen).item())


def test_evaluation_is_cross_entropy_so_that_epochs_compare() -> None:
    loss = LargeMarginSoftmax(m=4, start=0.0)
    logits, value, seen = logits_and_loss(loss)
    plain = F.cross_entropy(logits, seen["target"])  # type: ignore[arg-type]
    assert value > plain + 0.1
    torch.testing.assert_close(loss.eval()(**seen, progress=1.0), plain)
    assert loss.comparable == ("val",)


@pytest.mark.parametrize("epochs", [2, 6])
def test_the_margin_is_whole_at_the_end_of_a_training_of_any_length(images: Path, epochs: int) -> None:
    """The loop hands the share on: after the last batch lambda is that of the training's end."""
    seen = []

    class Note:
        def on_batch_end(self, state: Fit) -> None:
            term = state.task.objective.terms["large_margin"]
            seen.append(term.strength(state.task.progress).item())

    cs.fit(
        lenet5(size=16, num_classes=3, in_channels=3),
        images,
        set=["objective={large_margin: {}}", f"train.epochs={epochs}", "data.batch_size=12"],
        callbacks=[Note()],
    )
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == 1000
    assert seen[-1] < 0.02


def test_the_loss_is_harder_than_cross_entropy_and_zero_features_are_no_trouble() -> None:
    logits, value, seen = logits_and_loss(LargeMarginSoftmax(m=4, start=0.0))
    assert value > F.cross_entropy(logits, seen["target"])  # type: ignore[arg-type]
    head = nn.Linear(3, 2)
    x = torch.zeros(2, 3, requires_grad=True)
    loss = LargeMarginSoftmax(m=2)(input=head(x), features=x, target=torch.tensor([0, 1]), head=head)
    loss.backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_convolution_as_classifier_is_refused() -> None:
    net = nin(num_classes=2)
    with pytest.raises(UserError, match="net that ends in a fully connected layer"):
        LargeMarginSoftmax()(
            input=torch.zeros(1, 2), features=torch.zeros(1, 192), target=torch.tensor([0]), head=net.fc
        )


def test_trains_through_the_loop(images, tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = cs.train(
        images,
        out=tmp_path / "run",
        set=[
            "model.resnet20.width=8",
            "objective={large_margin: {m: 2}, center: {weight: 0.01}}",
            "train.epochs=30",
            "data.batch_size=16",
        ],
    )
    assert found["val_accuracy"] > 0.8
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train_large_margin", "train_center"} <= set(header)
