"""Where half precision isn't enough: squares, powers, norms and sums are computed in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """The tensor in at least float32: float16 ends at 65504, the square of 256, and bfloat16 has 3 digits.

    >>> wide(torch.ones(2, dtype=torch.float16)).dtype, wide(torch.ones(2, dtype=torch.double)).dtype
    (torch.float32, torch.float64)
    """
    return x.float() if x.dtype.itemsize < 4 else x


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Within it, convolutions and matrix products of float32 stay in float32, whatever autocast is on.

    >>> a = torch.full((1, 1), 300.0)
    >>> with torch.autocast("cpu", torch.float16), without_autocast(a.device):
    ...     a @ a
    tensor([[90000.]])
    """
    # Only where it is on: a traced program shall not hold a region for what doesn't happen.
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x.to(dtype)``, and nothing at all where it is of that type: an export would note a conversion.

    >>> cast(torch.ones(2), torch.float16)
    tensor([1., 1.], dtype=torch.float16)
    """
    return x if x.dtype == dtype else x.to(dtype)
