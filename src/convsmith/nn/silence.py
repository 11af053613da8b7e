"""Where an activation's answer no longer follows its input: at an exact zero, or near its range's end."""

from __future__ import annotations

import math

from timm import layers as timm_layers
from torch import Tensor, nn

# Share of the range, counted from its end, in which a bounded activation counts as saturated.
NEAR = 0.01
# torch's constants of SELU (Klambauer et al. 2017): lambda * alpha is what it falls to.
SELU_FLOOR = -1.0507009873554805 * 1.6732632423543772


def cuts_off(layer: nn.Module) -> bool:
    """Whether a range of inputs gives exactly 0, so that a unit of it can be silent: the rectifiers do.

    Activations that pass negative values in some way (leaky ReLU, PReLU, ELU, GELU, SiLU, tanh) don't, nor
    does a sigmoid, whose answers are never 0; a hard swish does, though it passes some.

    >>> cuts_off(nn.ReLU()), cuts_off(nn.LeakyReLU(0.01)), cuts_off(nn.Tanh())
    (True, False, False)
    """
    if isinstance(layer, nn.LeakyReLU):
        return layer.negative_slope == 0
    if isinstance(layer, nn.Hardtanh):  # ReLU6 is one
        return layer.min_val == 0
    return isinstance(layer, nn.ReLU | nn.Hardswish | timm_layers.HardSwish)


def silent(output: Tensor) -> Tensor:
    """Which responses of an activation that :func:`cuts_off` are silent, bool of the same shape."""
    return output == 0


def ends(layer: nn.Module) -> tuple[float | None, float | None] | None:
    """The values that an activation tends to for low and for high inputs; None without a bound.

    An exact zero, where :func:`cuts_off` holds, is no end here: such a unit is silent, not saturated.

    >>> ends(nn.Tanh()), ends(nn.ELU(alpha=0.5)), ends(nn.ReLU6()), ends(nn.ReLU())
    ((-1.0, 1.0), (-0.5, None), (None, 6.0), None)
    """
    if isinstance(layer, nn.Tanh | timm_layers.Tanh):
        return -1.0, 1.0
    if isinstance(layer, nn.Sigmoid | timm_layers.Sigmoid):
        return 0.0, 1.0
    if isinstance(layer, nn.SELU):
        return SELU_FLOOR, None
    if isinstance(layer, nn.ELU | nn.CELU):
        return -float(layer.alpha), None
    if isinstance(layer, nn.Hardtanh):
        return None if layer.min_val == 0 else float(layer.min_val), float(layer.max_val)
    return None


def saturated(output: Tensor, bounds: tuple[float | None, float | None]) -> Tensor:
    """Which responses lie within 1% of the range of an end, where the gradient has all but vanished.

    At such a place tanh passes at most 4% of a gradient, a sigmoid 1%, an ELU 1% of it (Glorot & Bengio 2010
    on saturation). The range of an activation with one end is from there to 0.

    Args:
        output: responses, of any shape.
        bounds: what :func:`ends` gives.

    Returns:
        bool, of the same shape.

    >>> import torch
    >>> saturated(torch.tensor([-0.99, 0.5, 0.97, 0.985]), (-1.0, 1.0))
    tensor([ True, False, False,  True])
    """
    low, high = bounds
    near = NEAR * abs((high or 0.0) - (low or 0.0))
    below, above = -math.inf if low is None else low + near, math.inf if high is None else high - near
    return (output <= below) | (output >= above)
