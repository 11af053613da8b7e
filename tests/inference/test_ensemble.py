"""Several nets as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith.data.picture import sized
from convsmith.data.signature import Signature
from convsmith.inference.ensemble import Ensemble
from convsmith.inference.predictor import Predictor
from convsmith.nn.normalizer import Normalizer


def member(seed: int, size: int, classes: str = "abc", **given: Any) -> Predictor:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(classes)))
    normalizer = Normalizer(torch.rand(3) * 200, torch.rand(3) + 10)
    return Predictor.of(net.eval(), normalizer, Signature(tuple(classes), size, 3, **given))


PIXELS = torch.randint(0, 256, (5, 12, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_posteriors_are_averaged_each_at_its_own_size() -> None:
    members = [member(0, 8), member(1, 12), member(2, 10)]
    own = Predictor.together(members)
    expected = torch.stack([m.probabilities(sized(PIXELS, m.size)) for m in members]).mean(0)
    assert own.probabilities(PIXELS).allclose(expected, atol=1e-6)
    assert (own.size, own.is_ensemble, own.classes) == (12, True, ["a", "b", "c"])


def test_numbers_are_averaged_as_numbers() -> None:
    numbers: dict[str, Any] = {
        "columns": ("x",),
        "encoding": {"numbers": {}},
        "state": {"mean": [1.0], "std": [2.0]},
    }
    members = [member(n, 8, "x", **numbers) for n in range(3)]
    own = Predictor.together(members)
    pixels = sized(PIXELS, 8)
    expected = torch.stack([m.outputs(pixels) for m in members]).mean(0)
    assert own.outputs(pixels).allclose(expected, atol=1e-6)
    assert own.outputs(pixels).abs().max() > 1e-3


def test_a_class_that_no_member_believes_in_stays_finite() -> None:
    class Sure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[2000.0, -2000.0]]).repeat(len(x), 1)

    found = Ensemble([Sure(), Sure()])(PIXELS)
    assert found.isfinite().all()
    assert found.softmax(1)[0].tolist() == [1.0, 0.0]


def test_members_that_dont_answer_alike() -> None:
    with pytest.raises(cs.UserError, match="one is for a, b, c, another for a, b, d"):
        Predictor.together([member(0, 8), member(1, 8, "abd")])
    for empty in (lambda: Predictor.together([]), lambda: Ensemble([])):
        with pytest.raises(cs.UserError, match="at least one member"):
            empty()
    own = Predictor.together([member(0, 8), member(1, 8)])
    with pytest.raises(cs.UserError, match="has several"):
        _ = own.normalizer
    with pytest.raises(cs.UserError, match="no single net"):
        own.module = nn.Identity()


def test_an_ensemble_of_ensembles_travels(tmp_path: Path) -> None:
    inner = Predictor.together([member(0, 8), member(1, 12)])
    own = Predictor.together([inner, member(2, 10)])
    own.save(tmp_path)
    opened = cs.load(tmp_path)
    assert opened.outputs(PIXELS).allclose(own.outputs(PIXELS), atol=1e-6)
    assert isinstance(opened.module.members[0], Ensemble)
