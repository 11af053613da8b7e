"""Initialization of a whole net by name: weights as said, biases zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from convsmith.catalog import technique
from convsmith.errors import UserError
from convsmith.nn.computed import LAYERS, computed, named_layers, read, write_
from convsmith.nn.depth import is_shallow, normalizes

Init = Callable[[nn.Module], None]
Fill = Callable[[Tensor], object]
# Activations that pass what is above zero as it is, or nearly so.
RECTIFIERS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Hardswish,
)
WHY_NOT_ZERO = (
    "all units of a layer would compute the same, get the same gradient and stay the same for ever, a layer "
    "of one unit; name he, xavier, gaussian or uniform"
)


def everywhere(fill: Fill) -> Init:
    """Fill the weights of all convolutions and fully connected layers, and zero their biases.

    The classifier of a net that names it (``get_classifier``, as ours and timm's do) starts apart, see
    :func:`small`; its biases start at the net's ``bias_start`` where it has one. A layer whose start has a
    meaning of its own has a method ``start(fill)``, which is called instead. A weight that is computed is
    filled through its parametrization's ``right_inverse``; a pruned one before its mask.

    Raises:
        UserError: by the initialization, if a parametrization has no ``right_inverse``.
    """

    @torch.no_grad()
    def initialize(model: nn.Module) -> None:
        last, own = _named_classifier(model), small(model)
        for name, layer in named_layers(model):
            start: Callable[[Fill], None] | None = getattr(layer, "start", None)
            if start is not None:
                start(fill)
            elif isinstance(layer, LAYERS):
                _refill(layer, "weight", name, own if layer is last else fill)
                if layer.bias is not None:
                    level = float(getattr(model, "bias_start", 0.0)) if layer is last else 0.0
                    _refill(layer, "bias", name, partial(nn.init.constant_, val=level))

    return initialize


def _named_classifier(model: nn.Module) -> nn.Module | None:
    """The classifier that a net names; None if it names none, or the layer has a start of its own."""
    named = getattr(model, "get_classifier", None)
    found = named() if named is not None else None
    return found if isinstance(found, nn.Linear | nn.Conv2d) and not hasattr(found, "start") else None


def small(model: nn.Module) -> Fill:
    """The start of a net's classifier, by which all classes are about equally likely: the first loss is ln K.

    Gaussian with a share of the deviation that keeps the features' size (LeCun et al. 1998): half in shallow
    nets; a tenth in deep ones, whose residual branches add up; 3% in deep ones without normalization, whose
    features may be many times larger than the image. Less would slow the layers below, whose gradients pass
    through it.

    >>> round(float(small(nn.Linear(1, 1))(torch.empty(400, 2500)).std()), 3)
    0.01
    """
    share = 0.5 if is_shallow(model) else 0.1 if normalizes(model) else 0.03
    return lambda weight: weight.normal_(0, share / math.sqrt(weight[0].numel()))


def _refill(layer: nn.Module, key: str, name: str, fill: Fill) -> None:
    stored = key not in computed(layer)
    value = getattr(layer, key) if stored else torch.empty_like(read(layer, key))
    for part in _groups(layer, value):
        fill(part)
    if not stored:
        write_(layer, value, key, name=name or "this layer")


def _groups(layer: nn.Module, value: Tensor) -> list[Tensor]:
    """Views (O, I, ...) of the groups' weights, so that ``fill`` counts who is read and who reads right.

    An input of a convolution in groups is read by the units of its own group alone; the weight as a whole
    looks as if all read it.
    """
    if value.ndim == 1:
        return [value]
    parts = value.chunk(getattr(layer, "groups", 1))
    return [part.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else part for part in parts]


def slope_of(model: nn.Module) -> float:
    """Slope below zero of the net's first leaky, parametric or randomized rectifier; 0 without one.

    >>> slope_of(nn.Sequential(nn.Linear(2, 2), nn.PReLU(init=0.25)))
    0.25
    """
    for layer in model.modules():
        if isinstance(layer, nn.LeakyReLU):
            return float(layer.negative_slope)
        if isinstance(layer, nn.PReLU):
            return float(layer.weight.detach().mean())
        if isinstance(layer, nn.RReLU):
            return float(layer.lower + layer.upper) / 2
    return 0.0


@technique(
    "init",
    "by_activation",
    source="He et al. 2015; Glorot & Bengio 2010",
    chapter="7 参数初始化 initialization",
    use="the default: the rule that fits the net's activation",
)
def by_activation() -> Init:
    """He's rule where the units rectify, Glorot's where they saturate or are linear.

    >>> layer = nn.Linear(1000, 1000)
    >>> by_activation()(nn.Sequential(layer, nn.Tanh())); bool((layer.weight.var() - 1e-3).abs() < 1e-4)
    True
    >>> by_activation()(nn.Sequential(layer, nn.ReLU())); bool((layer.weight.var() - 2e-3).abs() < 1e-4)
    True
    """

    def initialize(model: nn.Module) -> None:
        rectifies = any(isinstance(layer, RECTIFIERS) for layer in model.modules())
        (he() if rectifies else xavier())(model)

    return initialize


@technique(
    "init", "he", source="He et al. 2015", chapter="7 参数初始化 initialization", use="ReLU and its family"
)
def he(
    fan: Literal["in", "out"] = "in",
    slope: Annotated[float, Ge(0)] | None = None,
    distribution: Literal["normal", "uniform"] = "normal",
) -> Init:
    """Variance 2 / ((1 + slope^2) fan), biases zero.

    Fan-in keeps the size of activations (equation 10), fan-out that of gradients (equation 14), both within
    the group of a convolution in groups. Strides don't count, as in the paper: with one of s, a pixel's
    gradient has 1 / s^2 of that variance on average.

    Args:
        fan: inputs or outputs of a unit.
        slope: of the rectifier below zero; None takes the net's own.
        distribution: Gaussian, or uniform with the same variance.

    >>> layer = nn.Linear(1000, 1000); he()(layer); bool((layer.weight.std() - 0.002**0.5).abs() < 1e-3)
    True
    """

    def initialize(model: nn.Module) -> None:
        a = slope_of(model) if slope is None else slope
        fill = nn.init.kaiming_normal_ if distribution == "normal" else nn.init.kaiming_uniform_
        everywhere(lambda weight: fill(weight, a=a, mode=f"fan_{fan}"))(model)  # type: ignore[arg-type]

    return initialize


@technique(
    "init",
    "xavier",
    source="Glorot & Bengio 2010; fan in: Caffe",
    chapter="7 参数初始化 initialization",
    use="tanh, sigmoid or no activation",
)
def xavier(
    fan: Literal["in", "average"] = "average", distribution: Literal["uniform", "normal"] = "uniform"
) -> Init:
    """Variance 1 / fan, with the number of inputs of a unit or its average with that of outputs; biases zero.

    >>> layer = nn.Linear(1000, 1000); xavier()(layer); bool((layer.weight.var() - 1e-3).abs() < 1e-4)
    True
    """

    def fill(weight: Tensor) -> Tensor:
        inputs = weight[0].numel()
        outputs = weight.numel() // weight.shape[1]
        std = math.sqrt(1 / (inputs if fan == "in" else (inputs + outputs) / 2))
        limit = math.sqrt(3) * std
        return weight.normal_(0, std) if distribution == "normal" else weight.uniform_(-limit, limit)

    return everywhere(fill)


@technique(
    "init",
    "gaussian",
    source="Krizhevsky et al. 2012",
    chapter="7 参数初始化 initialization",
    use="to follow old papers; deep nets need a variance that follows their width (he, xavier)",
)
def gaussian(std: Annotated[float, Ge(0)] = 0.01) -> Init:
    """Gaussian of one standard deviation for all layers, biases zero.

    Raises:
        UserError: if ``std`` is 0.

    >>> layer = nn.Linear(1000, 1000); gaussian(0.1)(layer); bool((layer.weight.std() - 0.1).abs() < 1e-3)
    True
    """
    if std == 0:
        raise UserError(f"init gaussian with std=0 is zero: {WHY_NOT_ZERO}")
    return everywhere(lambda weight: weight.normal_(0, std))


@technique(
    "init",
    "uniform",
    source="LeCun et al. 1998, Efficient backprop",
    chapter="7 参数初始化 initialization",
    use="to follow old papers; deep nets need a range that follows their width (he, xavier)",
)
def uniform(limit: Annotated[float, Ge(0)] = 0.05) -> Init:
    """Uniform in (-limit, limit) for all layers, biases zero.

    Raises:
        UserError: if ``limit`` is 0.

    >>> layer = nn.Linear(10, 10); uniform(0.1)(layer); bool(layer.weight.abs().max() <= 0.1)
    True
    """
    if limit == 0:
        raise UserError(f"init uniform with limit=0 is zero: {WHY_NOT_ZERO}")
    return everywhere(lambda weight: weight.uniform_(-limit, limit))


@technique(
    "init",
    "zero",
    source="Rumelhart et al. 1986, on symmetry breaking",
    chapter="7 参数初始化 initialization",
    use="never: it is refused, and says why",
)
def zero() -> Init:
    """Refused: a net that starts at zero can't learn.

    Raises:
        UserError: always, with the reason.

    >>> zero()
    Traceback (most recent call last):
    convsmith.errors.UserError: init zero: all units of a layer would compute the same, ...
    """
    raise UserError(f"init zero: {WHY_NOT_ZERO}")
