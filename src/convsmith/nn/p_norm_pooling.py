"""Pooling by p-norm: from the sum of a window to its maximum."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convsmith.catalog import technique
from convsmith.nn.pooling import Window, taps
from convsmith.nn.precision import cast, wide


@technique(
    "pooling",
    "p_norm",
    source="Sermanet et al. 2012; Gulcehre et al. 2014 for a learned p",
    chapter="1 基本部件 layers",
    use="something between the sum (p = 1) and the maximum (p = inf)",
)
class PNormPool2d(Window):
    """(sum |x|^p)^(1/p) of each window; p is fixed, or learned as 1 + softplus of a parameter.

    Values are divided by the window's largest first, so that no p overflows; half precision is computed in
    float32. Differentiable once.

    Args:
        p: >= 1; at p = 1 the sum of absolute values, at p = inf their maximum.
        learn: p is a parameter, which starts at ``p`` and never falls below 1.

    >>> PNormPool2d(2, p=2.0)(torch.tensor([[[[3.0, 0.0], [0.0, -4.0]]]]))
    tensor([[[[5.]]]])
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        p: Annotated[float, Ge(1)] = 2.0,
        learn: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.fixed = p
        if learn:
            # softplus' inverse; a hair above 1, where it would be -inf
            above = min(max(p - 1, 1e-3), 64.0)
            self.raw = nn.Parameter(torch.tensor(math.log(math.expm1(above))))
        self.learn = learn

    @property
    def p(self) -> Tensor | float:
        return 1 + F.softplus(self.raw) if self.learn else self.fixed

    def forward(self, x: Tensor) -> Tensor:
        return p_norm_pool(self.padded(x), self.p, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={torch.as_tensor(self.p).item():g}"


def p_norm_pool(x: Tensor, p: float | Tensor, kernel: int, stride: int) -> Tensor:
    """(sum |x|^p)^(1/p) of each window of (N, C, H, W); gradients for x, and for p if it is a tensor."""
    exact = wide(x)
    if not isinstance(p, Tensor):
        if math.isinf(p):
            return F.max_pool2d(x.abs(), kernel, stride)
        if p == 1:
            return cast(F.avg_pool2d(exact.abs(), kernel, stride, divisor_override=1), x.dtype)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return cast(_p_norm(exact, p, kernel, stride), x.dtype)
    pooled: Tensor = _PNorm.apply(exact, wide(p) if isinstance(p, Tensor) else p, kernel, stride)
    return cast(pooled, x.dtype)


def _p_norm(x: Tensor, p: float | Tensor, kernel: int, stride: int) -> Tensor:
    magnitude = x.abs()
    top = F.max_pool2d(magnitude, kernel, stride)
    scale = 1 / top.clamp_min(torch.finfo(x.dtype).tiny)
    total = torch.zeros_like(top)
    for tap in taps(magnitude, kernel, stride):
        total = total + _power(tap * scale, p)
    # At least 1, the largest value's own part; where all is 0 the root would have no slope.
    return top * total.clamp_min(1) ** (1 / p)


def _power(x: Tensor, p: float | Tensor) -> Tensor:
    """x^p for x >= 0; whole powers have quick kernels, and logarithm and exponential beat the general one."""
    if not isinstance(p, Tensor) and p in (1, 2, 3):
        return x.pow(p)
    if not isinstance(p, Tensor) and p == 4:
        return x.square().square()
    # the clamp: 0^0 is 1, where the logarithm alone would give 0 * inf
    return x.clamp_min(torch.finfo(x.dtype).tiny).log().mul(p).exp()


class _PNorm(torch.autograd.Function):
    """One window's places after another: autograd would keep a copy of every place's every step.

    With u = |x| / y, which satisfies sum u^p = 1: dy/dx = u^(p - 1) sign(x), dy/dp = y / p * sum u^p log u.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float | Tensor, kernel: int, stride: int) -> Tensor:
        y = _p_norm(x, p, kernel, stride)
        ctx.learned = isinstance(p, Tensor)
        ctx.save_for_backward(x, y, *([p] if isinstance(p, Tensor) else []))
        ctx.options = None if ctx.learned else p, kernel, stride
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        x, y, *rest = ctx.saved_tensors
        p, kernel, stride = ctx.options
        p = rest[0] if ctx.learned else p
        tiny = torch.finfo(x.dtype).tiny
        scale = 1 / y.clamp_min(tiny)
        slopes, entropy = torch.zeros_like(x), torch.zeros_like(y)
        for slope, tap in zip(taps(slopes, kernel, stride), taps(x, kernel, stride)):
            u = (tap * scale).abs()
            power = _power(u, p - 1)
            if ctx.learned:
                entropy += power * u * u.clamp_min(tiny).log()
            slope += power * tap.sign() * grad
        slope_of_p = (grad * y * entropy).sum() / p if ctx.learned else None
        return slopes, slope_of_p, None, None
