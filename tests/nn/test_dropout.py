from __future__ import annotations

import pytest
import torch
from torch import nn

from convsmith.nn.dropout import ClassicDropout, inverted


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
def test_both_have_equal_expectations_in_training_and_test(p: float) -> None:
    """Classic keeps E = (1 - p) x in both modes, inverted E = x; one is the other times 1 - p."""
    torch.manual_seed(0)
    x = torch.ones(400_000)
    classic, modern = ClassicDropout(p), inverted(p)
    error = 5 * (p * (1 - p) / len(x)) ** 0.5 + 1e-6
    assert abs(classic(x).mean().item() - classic.eval()(x).mean().item()) < error
    assert abs(modern(x).mean().item() - modern.eval()(x).mean().item()) < error / (1 - p)
    assert classic.eval()(x)[0].item() == pytest.approx(1 - p)
    assert modern.eval()(x).equal(x)


def test_classic_drops_values_whole_and_scales_nothing_in_training() -> None:
    torch.manual_seed(0)
    y = ClassicDropout(0.3)(torch.full((100_000,), 7.0))
    assert y.unique().tolist() == [0.0, 7.0]
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_the_two_are_one_net_after_scaling_the_weights() -> None:
    """Hinton et al.'s remark: test weights times 1 - p equal training weights divided by it."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 2, bias=False)
    classic = nn.Sequential(ClassicDropout(0.5), layer).eval()
    scaled = nn.Linear(6, 2, bias=False)
    scaled.weight = nn.Parameter(layer.weight / 2)
    x = torch.randn(3, 6)
    assert torch.allclose(classic(x), nn.Sequential(inverted(0.5), scaled).eval()(x))
