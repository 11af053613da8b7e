"""The mean over the images of a batch, of which one process may have none."""

from __future__ import annotations

from torch import Tensor


def mean(losses: Tensor) -> Tensor:
    """Mean of all values; 0 of none, with a gradient of zeros, where torch's own mean is NaN.

    Where a batch has fewer images than there are processes, some process gets none: its share is 0, and
    0 * NaN would be the loss of all.

    >>> import torch
    >>> mean(torch.tensor([1.0, 3.0])), mean(torch.zeros(0))
    (tensor(2.), tensor(0.))
    """
    return losses.mean() if losses.numel() else losses.sum()
