"""Pooling by name: each makes one value of every window of a map, (N, C, H, W) to (N, C, H', W')."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.catalog import technique


@technique(
    "pooling",
    "max",
    source="Riesenhuber & Poggio 1999; Scherer et al. 2010",
    chapter="1 基本部件 layers",
    use="the default between convolutions",
)
def max_pool(
    kernel_size: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False
) -> nn.Module:
    """The largest value of each window."""
    return nn.MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)


@technique(
    "pooling",
    "average",
    source="LeCun et al. 1998",
    chapter="1 基本部件 layers",
    use="smooth maps; before a classifier",
)
def average_pool(
    kernel_size: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False
) -> nn.Module:
    """The mean of each window, padding left out."""
    return nn.AvgPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=False)


@technique(
    "pooling",
    "strided_convolution",
    source="Springenberg et al. 2015, Striving for simplicity",
    chapter="1 基本部件 layers",
    use="the net may learn how to subsample, for kernel_size^2 * channels^2 more parameters",
)
def strided_convolution(
    channels: int, kernel_size: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False
) -> nn.Module:
    """A convolution with the pooling's window and stride and a ReLU in the pooling's place.

    >>> import torch
    >>> strided_convolution(4, 2)(torch.ones(1, 4, 6, 6)).shape
    torch.Size([1, 4, 3, 3])
    """
    stride = stride or kernel_size
    layers: list[nn.Module] = [
        nn.Conv2d(channels, channels, kernel_size, stride, padding),
        nn.ReLU(inplace=True),
    ]
    # A zero row more gives the sizes of ceil_mode, but for windows that would begin in it.
    return nn.Sequential(*([_CeilPad(kernel_size, stride, padding)] if ceil_mode else []), *layers)


class Window(nn.Module):
    """What the pooling layers written here have in common: the window."""

    def __init__(self, kernel_size: int, stride: int | None, padding: int, ceil_mode: bool) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride or kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode

    def padded(self, x: Tensor) -> Tensor:
        """The maps with zeros around, so that windows cover all and none sticks out."""
        down, right = (
            _missing(side, self.kernel_size, self.stride, self.padding) if self.ceil_mode else 0
            for side in x.shape[2:]
        )
        p = self.padding
        return F.pad(x, (p, p + right, p, p + down)) if p or right or down else x

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _CeilPad(Window):
    def __init__(self, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        down, right = (_missing(side, self.kernel_size, self.stride, self.padding) for side in x.shape[2:])
        return F.pad(x, (0, right, 0, down)) if right or down else x


def _missing(side: int, kernel: int, stride: int, padding: int) -> int:
    """How many rows torch's ``ceil_mode`` looks beyond the padding."""
    windows = math.ceil((side + 2 * padding - kernel) / stride) + 1
    if (windows - 1) * stride >= side + padding:  # it would begin in the padding
        windows -= 1
    return max(0, (windows - 1) * stride + kernel - side - 2 * padding)


def taps(x: Tensor, kernel: int, stride: int) -> Iterator[Tensor]:
    """For each of the kernel * kernel places of a window, its value in all windows: views (N, C, H', W').

    >>> import torch
    >>> [int(tap) for tap in taps(torch.arange(4.0).view(1, 1, 2, 2), 2, 2)]
    [0, 1, 2, 3]
    """
    rows, columns = ((side - kernel) // stride + 1 for side in x.shape[2:])
    for i in range(kernel):
        for j in range(kernel):
            yield x[
                :, :, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride
            ]
