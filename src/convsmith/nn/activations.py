"""Activations by name; each is torch's own layer."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt
from torch import nn

from convsmith.catalog import technique


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
    use="much data: the slope is learned",
)
def prelu(init: float = 0.25) -> nn.Module:
    """x for x > 0, a * x below with one learned a a layer."""
    return nn.PReLU(init=init)


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
