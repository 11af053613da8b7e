"""Norms as penalties: against NumPy, known terms, finite differences, and what they do to a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.objectives.norm import NormPenalty
from convsmith.objectives.objective import build
from convsmith.objectives.penalties import L1
from convsmith.recipe import Recipe

NAMES: list[Any] = [
    *catalog.names("vector_norm"),
    *catalog.names("matrix_norm"),
    *[{"p": {"p": p}} for p in (0.5, 1.0, 1.5, 4.0)],
    *[{"schatten": {"p": p}} for p in (1.0, 1.5, 4.0)],
]
EVERY = pytest.mark.parametrize("of", NAMES, ids=str)


def net() -> nn.Sequential:
    """Convolutions of all shapes: grouped, transposed, and a fully connected layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, (3, 1), groups=2), nn.BatchNorm2d(6), nn.ConvTranspose2d(6, 4, 3), nn.Linear(5, 3)
    )


@pytest.mark.parametrize(
    ("of", "order"), [("column_sum", 1), ("row_sum", np.inf), ("spectral", 2), ("frobenius", "fro")]
)
def test_matrix_norms_are_numpys_of_the_rows_of_units(of: str, order: Any) -> None:
    own = net().double()
    conv, _, turned, fc = (layer.weight.detach().numpy() for layer in own)  # type: ignore[union-attr, operator]
    matrices = [conv.reshape(6, 3), turned.transpose(1, 0, 2, 3).reshape(4, 54), fc]
    expected = sum(np.linalg.norm(matrix, order) for matrix in matrices)
    assert NormPenalty(of, weight=0.3)(own).item() == pytest.approx(0.3 * expected, rel=1e-12)


def test_families_meet_where_they_must() -> None:
    own = net().double()

    def value(of: Any) -> float:
        return NormPenalty(of, weight=1.0)(own).item()

    nuclear = sum(
        np.linalg.svd(matrix, compute_uv=False).sum()
        for matrix in (
            own[0].weight.detach().numpy().reshape(6, 3),
            own[2].weight.detach().transpose(0, 1).flatten(1).numpy(),
            own[3].weight.detach().numpy(),
        )
    )
    assert value("nuclear") == pytest.approx(nuclear)
    assert value({"schatten": {"p": 1}}) == pytest.approx(nuclear)
    assert value({"schatten": {"p": 2}}) == pytest.approx(value("frobenius")) == pytest.approx(value("l2"))
    assert value({"schatten": {"p": 400}}) == pytest.approx(value("spectral"), rel=1e-2)
    assert value("l1") == pytest.approx(value({"p": {"p": 1}})) == pytest.approx(L1(1.0)(own).item())
    assert value("max") == pytest.approx(sum(own[n].weight.abs().max().item() for n in (0, 2, 3)))  # type: ignore[operator]


@EVERY
def test_gradient_by_finite_differences(of: Any) -> None:
    own, step = net().double(), 1e-6
    penalty = NormPenalty(of, weight=0.7)
    penalty(own).backward()
    weights = [layer.weight for layer in (own[0], own[2], own[3])]
    directions = [torch.randn_like(weight) for weight in weights]  # type: ignore[arg-type]
    slope = sum(float((w.grad * d).sum()) for w, d in zip(weights, directions))  # type: ignore[union-attr, operator]
    ends = []
    with torch.no_grad():
        for share in (step, -2 * step):
            for weight, direction in zip(weights, directions):
                weight.add_(direction, alpha=share)  # type: ignore[operator, union-attr]
            ends.append(float(penalty(own)))
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-7)


@EVERY
@pytest.mark.parametrize("zeros", ["all", "a row", "one"])
def test_gradients_are_finite_at_zeros(of: Any, zeros: str) -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[{"all": slice(None), "a row": 1, "one": (0, 2)}[zeros]] = 0
    value = NormPenalty(of, weight=1.0)(layer)
    value.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
    assert bool(layer.weight.grad.any()) == bool(value > 0) == (zeros != "all")


def test_nuclear_lowers_the_rank_and_spectral_the_gain() -> None:
    """A layer learns a matrix of rank 1 from few noisy pairs: the norm finds what the others don't."""
    torch.manual_seed(0)
    x = torch.randn(30, 8)
    y = x @ torch.outer(torch.randn(8), torch.randn(6)) + 0.3 * torch.randn(30, 6)
    values = {}
    for of, weight in (("nuclear", 0.3), ("spectral", 0.3), ("spectral", 0.0)):
        layer = nn.Linear(8, 6, bias=False)
        penalty = NormPenalty(of, weight)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
        for _ in range(400):
            optimizer.zero_grad()
            ((layer(x) - y).square().mean() + penalty(layer)).backward()
            optimizer.step()
            schedule.step()
        values[of, weight] = torch.linalg.svdvals(layer.weight.detach())
    plain = values["spectral", 0.0]
    assert values["nuclear", 0.3][1] < 0.05 < plain[1]
    assert values["spectral", 0.3][0] < 0.95 * plain[0]
    assert values["spectral", 0.3][1] > 0.05, "the gain, not the rank"


def test_a_parametrized_weight_is_measured_as_it_is_used() -> None:
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4), n_power_iterations=50).eval()
    assert NormPenalty("spectral", weight=1.0)(layer).item() == pytest.approx(1, rel=1e-3)


def test_by_the_recipe_and_its_mistakes() -> None:
    section = {"cross_entropy": {}, "norm": {"of": {"p": {"p": 1}}, "weight": 0.5, "layers": ["3"]}}
    terms, _ = build(section)
    own = net()
    value = terms(model=own, input=torch.zeros(1, 2), target=torch.tensor([0]))["norm"]
    assert value.item() == pytest.approx(0.5 * float(own[3].weight.abs().sum()))  # type: ignore[operator]
    assert NormPenalty(weight=1.0)(nn.BatchNorm2d(2)).item() == 0
    with pytest.raises(UserError, match="there is no matrix_norm 'spectrall'; did you mean 'spectral'"):
        Recipe().changed({"objective.norm.of": "spectrall"})
    with pytest.raises(UserError, match="schatten: p=0.5 is not valid"):
        NormPenalty({"schatten": {"p": 0.5}})
    with pytest.raises(UserError, match=r"no layer with weights is called 'cov\*'"):
        NormPenalty(layers=["cov*"])(own)
