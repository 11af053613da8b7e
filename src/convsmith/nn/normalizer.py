"""Pixels to what a net reads: less the training images' mean, over their deviation."""

from __future__ import annotations

from torch import Tensor, nn


class Normalizer(nn.Module):
    """(pixels - mean) / std, from (N, H, W, C) in 0..255 to (N, C, H, W), in the units of the pixels.

    Args:
        mean: (C,) for the mean pixel, or (H, W, C) for the mean image.
        std: (C,).

    >>> import torch
    >>> Normalizer(torch.tensor([100.0]), torch.tensor([50.0]))(torch.full((1, 2, 2, 1), 150)).unique()
    tensor([1.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    def forward(self, pixels: Tensor) -> Tensor:
        return ((pixels.to(self.mean.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)
