"""Hand-made kernels that detect one pattern each: edges, directions, spots, waves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Gt
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import Kind, Spec, technique
from convsmith.errors import UserError
from convsmith.nn.computed import named_layers, read, write_
from convsmith.nn.init import Init
from convsmith.nn.weights import Weight

Pattern = Literal["edge", "sobel_x", "sobel_y", "prewitt_x", "prewitt_y", "laplacian", "gabor"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def pattern(name: Pattern, size: int = 3) -> Tensor:
    """One kernel (size, size) in float64; ``_x`` answers to changes along x, a vertical edge.

    At size 3: edge is 8 in the middle and -1 around; Sobel (1 2 1) x (-1 0 1); Prewitt (1 1 1) x (-1 0 1);
    Laplacian (0 1 0; 1 -4 1; 0 1 0). Larger Sobel and Laplacian kernels are those, smoothed with binomials;
    larger Prewitt kernels are the slope of the best plane. ``gabor`` is the wave at 0 degrees.

    Raises:
        UserError: if the size is even or below 3.

    >>> pattern("sobel_x").int().tolist()
    [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    """
    if size < 3 or size % 2 == 0:
        raise UserError(f"a pattern filter needs an odd size of at least 3, to have a middle; got {size}")
    binomial = torch.tensor([math.comb(size - 1, i) for i in range(size)], dtype=torch.float64)
    if name == "gabor":
        return gabor(size, degrees=0.0)
    if name == "edge":
        kernel = -torch.ones(size, size, dtype=torch.float64)
        kernel[size // 2, size // 2] = size * size - 1
        return kernel
    if name == "laplacian":
        smooth = torch.tensor([math.comb(size - 3, i) for i in range(size - 2)], dtype=torch.float64)
        plus = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)
        return _full(plus, torch.outer(smooth, smooth))
    if name.startswith("sobel"):
        smooth = torch.tensor([math.comb(size - 3, i) for i in range(size - 2)], dtype=torch.float64)
        slope = _full(torch.tensor([[-1.0, 0, 1]], dtype=torch.float64), smooth[None])[0]
        along = torch.outer(binomial, slope)
    else:
        ramp = torch.arange(size, dtype=torch.float64) - size // 2
        along = torch.outer(torch.ones(size, dtype=torch.float64), ramp)
    return along if name.endswith("_x") else along.T.contiguous()


def _full(a: Tensor, b: Tensor) -> Tensor:
    """Full two-dimensional convolution of two small kernels."""
    padding = (b.shape[0] - 1, b.shape[1] - 1)
    full: Tensor = torch.nn.functional.conv2d(a[None, None], b.flip((0, 1))[None, None], padding=padding)
    return full[0, 0]


def gabor(
    size: int, degrees: float, wavelength: float | None = None, sigma: float | None = None, phase: float = 0.0
) -> Tensor:
    """exp(-(x^2 + y^2) / (2 sigma^2)) cos(2 pi x' / wavelength + phase) less its mean, x' being turned.

    Gabor 1946; Daugman 1985.

    Args:
        size: of the kernel (size, size), in pixels.
        degrees: direction in which the wave runs; 0 is along x.
        wavelength: pixels; by default 2/3 of the size.
        sigma: width of the bell in pixels; by default a quarter of the size.
        phase: radians; 0 is a line detector, pi / 2 an edge detector.

    >>> gabor(5, 0.0).shape
    torch.Size([5, 5])
    """
    wavelength = wavelength or size * 2 / 3
    sigma = sigma or size / 4
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    turned = x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))
    kernel = torch.exp(-(x**2 + y**2) / (2 * sigma**2)) * torch.cos(2 * math.pi * turned / wavelength + phase)
    return kernel - kernel.mean()


def bank(count: int, size: int, names: Sequence[Pattern] = PATTERNS) -> Tensor:
    """``count`` kernels (count, size, size) of norm 1: each named one once, then Gabor waves all around.

    >>> bank(8, 5).flatten(1).norm(dim=1).round(decimals=6).unique().tolist()
    [1.0]
    """
    named = [pattern(name, size) for name in names if name != "gabor"][:count]
    waves = count - len(named)
    phases = (0.0, math.pi / 2)
    named += [
        gabor(size, 180 * (n // 2) / max(1, (waves + 1) // 2), phase=phases[n % 2]) for n in range(waves)
    ]
    kernels = torch.stack(named)
    lengths: Tensor = kernels.flatten(1).norm(dim=1)
    return kernels / lengths[:, None, None]


@technique(
    "init",
    "patterns",
    source="the notes, on kernels for edges and directions; Gabor 1946; Sobel 1968; Prewitt 1970",
    chapter="1 基本部件 layers",
    use="very few images, or to see what hand-made kernels are worth",
)
def patterns(
    filters: Sequence[Pattern] = PATTERNS,
    fixed: bool = False,
    gain: Annotated[float, Gt(0)] = 2**0.5,
    rest: Annotated[Spec, Kind("init")] = "he",
) -> Init:
    """The first convolution gets hand-made kernels, all else is initialized as ``rest`` says.

    Each kernel looks at the mean of the input channels and has norm ``gain``, as He's kernels have on
    average.

    Args:
        filters: which patterns; the remaining kernels are Gabor waves of all directions.
        fixed: the kernels stay as they are during training.
        gain: norm of each kernel, over all channels.
        rest: initialization of all other layers.

    Raises:
        UserError: if the net begins with no convolution, or with one of an even size.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 5)); patterns(["sobel_x"], fixed=True)(net)
    >>> net[0].weight.requires_grad
    False
    """

    @torch.no_grad()
    def initialize(model: nn.Module) -> None:
        catalog.build("init", rest)(model)
        found = ((name, layer) for name, layer in named_layers(model) if isinstance(layer, nn.Conv2d))
        name, first = next(found, ("", None))
        if first is None:
            raise UserError("init patterns needs a net with a convolution; this one has none")
        channels = first.in_channels // first.groups
        kernels = bank(first.out_channels, first.kernel_size[0], filters)
        size = (first.out_channels, channels, *first.kernel_size)
        value = (kernels[:, None] * (gain / math.sqrt(channels))).to(read(first))
        write_(first, value.expand(size), name=name or "this layer")
        for parameter in Weight(first, "weight").parameters():
            parameter.requires_grad_(not fixed)

    return initialize
