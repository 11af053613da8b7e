"""Pooling by name: each makes one value of every window of a map, (N, C, H, W) to (N, C, H', W')."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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


class _Window(nn.Module):
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


class _CeilPad(_Window):
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

    >>> [int(tap) for tap in taps(torch.arange(4.0).view(1, 1, 2, 2), 2, 2)]
    [0, 1, 2, 3]
    """
    rows, columns = ((side - kernel) // stride + 1 for side in x.shape[2:])
    for i in range(kernel):
        for j in range(kernel):
            yield x[
                :, :, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride
            ]


@technique(
    "pooling",
    "stochastic",
    source="Zeiler & Fergus 2013",
    chapter="1 基本部件 layers",
    use="few data: the random draw regularizes, and large values still win most of the time",
)
class StochasticPool2d(_Window):
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
    # half precision would round the small probabilities away
    x = x.float() if x.dtype.itemsize < 4 else x
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
    mean, squares = F.avg_pool2d(x, kernel, stride), F.avg_pool2d(x * x, kernel, stride)
    # where() before the division, else its gradient is NaN
    return torch.where(mean > 0, squares / torch.where(mean > 0, mean, 1), 0)


@technique(
    "pooling",
    "p_norm",
    source="Sermanet et al. 2012; Gulcehre et al. 2014 for a learned p",
    chapter="1 基本部件 layers",
    use="something between the sum (p = 1) and the maximum (p = inf)",
)
class PNormPool2d(_Window):
    """(sum |x|^p)^(1/p) of each window; p is fixed, or learned as 1 + softplus of a parameter.

    Values are divided by the window's largest first, so that no p overflows. Differentiable once.

    Args:
        p: >= 1; at p = 1 the sum of absolute values, at p = inf their maximum.
        learn: p is a parameter, which starts at ``p`` and stays above 1.

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
    if not isinstance(p, Tensor):
        if math.isinf(p):
            return F.max_pool2d(x.abs(), kernel, stride)
        if p == 1:
            return F.avg_pool2d(x.abs(), kernel, stride, divisor_override=1)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return _p_norm(x, p, kernel, stride)
    pooled: Tensor = _PNorm.apply(x, p, kernel, stride)
    return pooled


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
    return x.log().mul(p).exp()


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


@technique(
    "global_pooling",
    "average",
    source="Lin et al. 2014, Network in network",
    chapter="1 基本部件 layers",
    use="the default before a classifier: no parameters, any image size",
)
class GlobalAverage(nn.Module):
    """The mean of each map, (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@technique(
    "global_pooling",
    "generalized_mean",
    source="Radenovic et al. 2019 (GeM)",
    chapter="1 基本部件 layers",
    use="the object fills a small part of the image; retrieval",
)
class GeneralizedMean(nn.Module):
    """(mean of max(x, eps)^p)^(1/p) of each map with a learned p, (N, C, H, W) to (N, C).

    >>> round(float(GeneralizedMean(p=2.0)(torch.tensor([[[[3.0, 4.0]]]]))), 3)
    3.536
    """

    def __init__(self, p: Annotated[float, Ge(1)] = 3.0, eps: Annotated[float, Ge(0)] = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(self.eps).pow(self.p).mean((2, 3)).pow(1 / self.p)
