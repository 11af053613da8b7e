"""Stochastic pooling: a draw from each window in training, its mean in test."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from convsmith.catalog import technique
from convsmith.nn.pooling import Window, taps
from convsmith.nn.precision import cast, wide


@technique(
    "pooling",
    "stochastic",
    source="Zeiler & Fergus 2013",
    chapter="1 基本部件 layers",
    use="few data: the random draw regularizes, and large values still win most of the time",
)
class StochasticPool2d(Window):
    """Training draws one value of each window with probability a / sum(a); test gives the mean of the draw.

    The test output is sum(a^2) / sum(a). Values are activations, >= 0: negative ones count as 0, and a
    window without a positive value gives 0.

    >>> StochasticPool2d(2).eval()(torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]]))
    tensor([[[[2.5000]]]])
    """

    def __init__(
        self, kernel_size: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        x = self.padded(F.relu(x))
        pool = stochastic_pool if self.training else expected_pool
        return pool(x, self.kernel_size, self.stride)


def stochastic_pool(x: Tensor, kernel: int, stride: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw one value of each window with a probability proportional to it.

    Args:
        x: (N, C, H, W), >= 0.
        kernel, stride: of the window, in pixels.
        generator: of the draws.
    """
    with torch.no_grad():
        place = _draw(x, kernel, stride, generator)
    picked: Tensor = _Pick.apply(x, place, kernel, stride)
    return picked


def _draw(x: Tensor, kernel: int, stride: int, generator: torch.Generator | None) -> Tensor:
    """Which place of each window is drawn, in 0 .. kernel^2 - 1, as bytes."""
    x = wide(x)  # half precision would round the small probabilities away
    *values, last = taps(x, kernel, stride)
    total = torch.zeros_like(last, memory_format=torch.preserve_format)
    for value in (*values, last):
        total += value
    # A hair below 1: rounded up to the total, the bar would pass the last positive value.
    bar = torch.empty_like(total).uniform_(0, 1 - 4 * torch.finfo(x.dtype).eps, generator=generator)
    bar *= total
    place = torch.zeros_like(total, dtype=torch.uint8)
    running = torch.zeros_like(total)
    for value in values:
        running += value
        place += (running <= bar).view(torch.uint8)
    return place


def _format(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class _Pick(torch.autograd.Function):
    """The value at a given place of each window; one place after another, in the memory's own order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor, kernel: int, stride: int) -> Tensor:
        ctx.save_for_backward(place)
        ctx.options = x.shape, kernel, stride
        first, *others = taps(x, kernel, stride)
        picked = first.clone(memory_format=torch.preserve_format)
        for number, value in enumerate(others, start=1):
            picked = torch.where(place == number, value, picked)
        return picked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (place,) = ctx.saved_tensors
        shape, kernel, stride = ctx.options
        slopes = torch.zeros(shape, dtype=grad.dtype, device=grad.device)
        slopes = slopes.contiguous(memory_format=_format(grad))
        for number, slope in enumerate(taps(slopes, kernel, stride)):
            slope += grad.masked_fill(place != number, 0)
        return slopes, None, None, None


def expected_pool(x: Tensor, kernel: int, stride: int) -> Tensor:
    """The mean of :func:`stochastic_pool`'s draws, sum(a^2) / sum(a), 0 where all is 0."""
    exact = wide(x)
    mean, squares = F.avg_pool2d(exact, kernel, stride), F.avg_pool2d(exact * exact, kernel, stride)
    # where() before the division, else its gradient is NaN
    return cast(torch.where(mean > 0, squares / torch.where(mean > 0, mean, 1), 0), x.dtype)
