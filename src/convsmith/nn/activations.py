"""Activations by name; each is torch's own layer. ``channels`` is the number of maps or units it acts on."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from convsmith.catalog import technique
from convsmith.errors import UserError
from convsmith.nn.precision import cast, wide


@technique("activation", "relu", source="Nair & Hinton 2010", chapter="1 基本部件 layers", use="the default")
def relu() -> nn.Module:
    """max(x, 0)."""
    return nn.ReLU(inplace=True)


@technique(
    "activation",
    "leaky_relu",
    source="Maas et al. 2013",
    chapter="1 基本部件 layers",
    use="units die under ReLU",
)
def leaky_relu(slope: Annotated[float, Ge(0)] = 0.01) -> nn.Module:
    """x for x > 0, slope * x below."""
    return nn.LeakyReLU(slope, inplace=True)


@technique(
    "activation",
    "prelu",
    source="He et al. 2015",
    chapter="1 基本部件 layers",
    use="much data: the slope is learned; per channel for still more data",
)
def prelu(channels: int, init: float = 0.25, per_channel: bool = False) -> nn.Module:
    """x for x > 0, a * x below with one learned slope a for the layer, or one for each channel.

    >>> prelu(channels=8, per_channel=True).weight.shape
    torch.Size([8])
    """
    return nn.PReLU(channels if per_channel else 1, init=init)


@technique(
    "activation",
    "rrelu",
    source="Xu et al. 2015, Empirical evaluation of rectified activations",
    chapter="1 基本部件 layers",
    use="few data: the random slope regularizes",
)
def rrelu(lower: Annotated[float, Ge(0)] = 1 / 8, upper: Annotated[float, Ge(0)] = 1 / 3) -> nn.Module:
    """x for x > 0, a * x below with a ~ U(lower, upper) for each value, in test (lower + upper) / 2.

    Raises:
        UserError: if ``lower`` exceeds ``upper``.

    >>> import torch
    >>> rrelu(0.1, 0.3).eval()(torch.tensor([-10.0]))
    tensor([-2.])
    """
    if lower > upper:
        raise UserError(f"rrelu: lower={lower} exceeds upper={upper}; swap them")
    return _RReLU(lower, upper, inplace=True)


class _RReLU(nn.RReLU):
    """torch's, whose test output also exports to ONNX: a leaky ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            # torch draws none in float16 on a CPU
            return cast(super().forward(wide(input)), input.dtype)
        return F.leaky_relu(input, (self.lower + self.upper) / 2, self.inplace)


@technique(
    "activation",
    "elu",
    source="Clevert et al. 2016",
    chapter="1 基本部件 layers",
    use="nets without normalization",
)
def elu(alpha: Annotated[float, Gt(0)] = 1.0) -> nn.Module:
    """x for x > 0, alpha * (exp(x) - 1) below."""
    return nn.ELU(alpha, inplace=True)


@technique(
    "activation",
    "tanh",
    source="LeCun et al. 1998",
    chapter="1 基本部件 layers",
    use="shallow nets of the old school",
)
def tanh() -> nn.Module:
    """Hyperbolic tangent, in (-1, 1)."""
    return nn.Tanh()


@technique(
    "activation",
    "sigmoid",
    source="Rumelhart et al. 1986",
    chapter="1 基本部件 layers",
    use="to see gradients vanish",
)
def sigmoid() -> nn.Module:
    """1 / (1 + exp(-x)), in (0, 1)."""
    return nn.Sigmoid()
