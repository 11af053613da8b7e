"""Pixels to what a net reads."""

from __future__ import annotations

import pytest
import torch

from convsmith.nn.normalizer import Normalizer


@pytest.mark.parametrize("shape", [(3,), (4, 5, 3)])
def test_each_number_by_hand(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mean, std = torch.rand(shape) * 255, torch.rand(3) + 10
    pixels = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    found = Normalizer(mean, std)(pixels)
    assert found.shape == (2, 3, 4, 5)
    for n, c, y, x in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)):
        own = mean[c] if mean.ndim == 1 else mean[y, x, c]
        assert found[n, c, y, x].item() == pytest.approx(
            ((pixels[n, y, x, c].item() - own) / std[c]).item(), rel=1e-5
        )


def test_it_is_state_and_moves() -> None:
    own = Normalizer(torch.tensor([1.0]), torch.tensor([2.0]))
    assert set(own.state_dict()) == {"mean", "std"}
    assert not list(own.parameters())
    assert own.double()(torch.full((1, 1, 1, 1), 4, dtype=torch.uint8)).dtype == torch.double
    exported = torch.export.export(own, (torch.zeros(1, 96, 96, 1, dtype=torch.uint8),))
    assert exported.module()(torch.full((1, 96, 96, 1), 5, dtype=torch.uint8)).unique().item() == 2
