"""Convolutions by name, called as :class:`torch.nn.Conv2d`; all keep the size of the maps at stride 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from convsmith.catalog import technique
from convsmith.nn.computed import write_
from convsmith.nn.precision import cast, wide, without_autocast

Groups = Annotated[int, Ge(1)]


@technique(
    "convolution",
    "plain",
    source="LeCun et al. 1998",
    chapter="1 基本部件 layers",
    use="the default",
)
def plain(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    bias: bool = True,
    groups: Groups = 1,
) -> nn.Conv2d:
    """torch's own convolution, padded so that stride 1 keeps the size of the maps."""
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)


@technique(
    "convolution",
    "dilated",
    source="Yu & Koltun 2016",
    chapter="1 基本部件 layers",
    use="a larger receptive field for the same parameters and size of maps",
)
def dilated(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    bias: bool = True,
    dilation: Annotated[int, Ge(1)] = 2,
    groups: Groups = 1,
) -> nn.Conv2d:
    """A convolution whose taps lie ``dilation`` apart and see dilation * (kernel_size - 1) + 1 pixels."""
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)


class _Offsets(nn.Conv2d):
    """Predicts where the taps look; starts at zero, as a plain convolution, whatever the initialization."""

    @torch.no_grad()
    def start(self, fill: Callable[[Tensor], Tensor]) -> None:
        assert self.bias is not None
        write_(self, torch.zeros_like(self.weight))
        write_(self, torch.zeros_like(self.bias), "bias")

    def forward(self, input: Tensor) -> Tensor:
        # Places in pixels: half precision knows no tenth of a pixel beyond the first hundred.
        assert self.bias is not None
        with without_autocast(input.device):
            found: Tensor = self._conv_forward(wide(input), wide(self.weight), wide(self.bias))
        return found


@technique(
    "convolution",
    "deformable",
    source="Dai et al. 2017 (v1); Zhu et al. 2019 (modulated, v2)",
    chapter="1 基本部件 layers",
    use="objects change their shape; in the last stage, where it costs little",
)
class DeformableConv2d(nn.Conv2d):
    """A convolution whose taps move by offsets that another convolution predicts at each place.

    With ``modulated`` each tap is also weighed by 2 * sigmoid of a prediction (v2). Both start at zero: a
    plain convolution. The receptive field depends on the image; summaries give that of zero offsets.

    Args:
        modulated: v2 (else v1).
        groups: of channels that don't see each other; all move by the same offsets.

    >>> DeformableConv2d(3, 8, 3)(torch.zeros(1, 3, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        bias: bool = True,
        dilation: Annotated[int, Ge(1)] = 1,
        modulated: bool = True,
        groups: Groups = 1,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.modulated = modulated
        places = kernel_size * kernel_size
        self.offsets = _Offsets(
            in_channels, (3 if modulated else 2) * places, kernel_size, stride, padding, dilation
        )
        self.offsets.start(nn.init.zeros_)

    def forward(self, x: Tensor) -> Tensor:
        places = self.kernel_size[0] * self.kernel_size[1]
        found = self.offsets(x)
        offset, raw = found[:, : 2 * places], found[:, 2 * places :]
        # twice the sigmoid, so that zero weighs 1 and the layer starts as a convolution
        mask = 2 * raw.sigmoid() if self.modulated else None
        # The operator has no ONNX counterpart that runtimes carry everywhere; bilinear sampling has.
        convolve = _by_sampling if torch.compiler.is_exporting() else deform_conv2d
        weight = wide(self.weight)  # read once: a parametrized one is computed at each reading
        like = weight.dtype
        y: Tensor = convolve(
            cast(x, like),
            cast(offset, like),
            weight,
            None if self.bias is None else wide(self.bias),
            self.stride,
            _pair(self.padding),
            self.dilation,
            None if mask is None else cast(mask, like),
        )
        return cast(y, x.dtype)


def _pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    assert not isinstance(padding, str)
    return padding[0], padding[1]


def _by_sampling(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    mask: Tensor | None,
) -> Tensor:
    """:func:`torchvision.ops.deform_conv2d` from bilinear samples, a place of the kernel at a time."""
    height, width = x.shape[2:]
    rows, columns = offset.shape[2:]
    y0 = (torch.arange(rows, device=x.device, dtype=x.dtype) * stride[0] - padding[0])[:, None]
    x0 = torch.arange(columns, device=x.device, dtype=x.dtype) * stride[1] - padding[1]
    total: Tensor | None = None
    kernel_height, kernel_width = weight.shape[2:]
    for place in range(kernel_height * kernel_width):
        i, j = divmod(place, kernel_width)
        ys = y0 + i * dilation[0] + offset[:, 2 * place]
        xs = x0 + j * dilation[1] + offset[:, 2 * place + 1]
        # grid_sample's coordinates run from -1 to 1 over the pixels' outer edges
        grid = torch.stack([(2 * xs + 1) / width - 1, (2 * ys + 1) / height - 1], dim=3)
        seen = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if mask is not None:
            seen = seen * mask[:, place : place + 1]
        part = F.conv2d(seen, weight[:, :, i, j, None, None], groups=x.shape[1] // weight.shape[1])
        total = part if total is None else total + part
    assert total is not None
    return total if bias is None else total + bias[:, None, None]
