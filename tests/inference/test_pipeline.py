"""Preprocessing and net as one module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convsmith.data.picture import sized
from convsmith.inference.pipeline import Pipeline, answered, dtype_of
from convsmith.nn.normalizer import Normalizer


class Watch(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.drop = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.drop(self.conv(x).mean((2, 3)))


def pipeline(size: int = 8, last: bool = True) -> Pipeline:
    torch.manual_seed(0)
    return Pipeline(
        Watch(), Normalizer(torch.tensor([9.0, 8, 7]), torch.tensor([2.0, 3, 4])), size, channels_last=last
    )


def pixels(size: int = 8) -> Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)


@pytest.mark.parametrize("given", [8, 12])
def test_the_net_reads_resized_and_normalized_pixels(given: int) -> None:
    own, raw = pipeline(), pixels(given)
    own.outputs(raw)
    expected = (sized(raw, 8).float() - torch.tensor([9.0, 8, 7])) / torch.tensor([2.0, 3, 4])
    assert own.model.seen.allclose(expected.permute(0, 3, 1, 2))


@pytest.mark.parametrize(("last", "order"), [(True, torch.channels_last), (False, torch.contiguous_format)])
def test_memory_format_and_type(last: bool, order: torch.memory_format) -> None:
    own = pipeline(last=last)
    own.model.double()
    own.outputs(pixels())
    assert own.model.seen.is_contiguous(memory_format=order)
    assert own.model.seen.dtype == torch.double


def test_outputs_are_of_evaluation_and_the_mode_stays() -> None:
    own = pipeline().train()
    own.model.conv.eval()
    raw = pixels()
    first = own.outputs(raw)
    assert first.equal(own.outputs(raw)), "no dropout"
    assert first.dtype == torch.double
    assert not first.requires_grad
    assert (own.training, own.model.drop.training, own.model.conv.training) == (True, True, False)
    assert first.equal(answered(own, raw))
    assert not torch.equal(own(raw).double(), first), "the module itself is in training"


def test_the_type_of_a_net() -> None:
    assert dtype_of(nn.ReLU()) == torch.float32
    assert dtype_of(nn.Linear(1, 1).half()) == torch.float16
    net = nn.Linear(1, 1).double()
    net.register_parameter("a", nn.Parameter(torch.tensor([1]), requires_grad=False))
    assert dtype_of(net) == torch.double
