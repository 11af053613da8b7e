"""Which pixels a value can depend on, followed through every operation of a forward pass.

A value at place i of a map depends on the pixels i * stride + low .. i * stride + high along an axis. Each
operation changes these three numbers; branches that meet take the smallest low and the largest high (Araujo
et al. 2019, Computing receptive fields of convolutional neural networks). Statistics that a normalization
takes over a whole map don't count; a global pooling does, as does a gate computed from one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten


@dataclass(frozen=True)
class Span:
    """Along one axis: place i depends on pixels i * stride + low .. i * stride + high."""

    stride: float = 1
    low: float = 0
    high: float = 0

    @property
    def size(self) -> float:
        """Pixels; infinite where all of the image counts."""
        return self.high - self.low + 1

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> Span:
        """After an operation that slides a window.

        >>> Span().window(3, 2, 1, 1)
        Span(stride=2, low=-1, high=1)
        """
        first = -padding * self.stride
        last = first + (kernel - 1) * dilation * self.stride
        return Span(self.stride * stride, self.low + first, self.high + last)

    def shifted(self, places: int, step: int = 1) -> Span:
        """After a slice ``[places::step]`` along the axis.

        >>> Span(stride=2).shifted(3)
        Span(stride=2, low=6, high=6)
        """
        move = places * self.stride
        return Span(self.stride * step, self.low + move, self.high + move)

    def __or__(self, other: Span) -> Span:
        return Span(max(self.stride, other.stride), min(self.low, other.low), max(self.high, other.high))


WHOLE = Span(math.inf, -math.inf, math.inf)


@dataclass(frozen=True)
class Field:
    """Receptive field of a map: spans along its two spatial axes, and their numbers in the tensor."""

    spans: tuple[Span, Span] = (Span(), Span())
    axes: tuple[int, int] = (2, 3)

    def mapped(self, change: Callable[[int, Span], Span]) -> Field:
        """Each span changed by a function of 0 (y) or 1 (x) and itself."""
        return replace(self, spans=(change(0, self.spans[0]), change(1, self.spans[1])))

    def __or__(self, other: Field) -> Field:
        return self.mapped(lambda axis, span: span | other.spans[axis])


def everything(dims: int) -> Field:
    return Field((WHOLE, WHOLE), (max(0, dims - 2), max(0, dims - 1)))


def _pair(value: Sequence[int] | int, place: int) -> int:
    """The entry for y (0) or x (1) of a window's argument; one number is for both."""
    entries = [value] if isinstance(value, int) else list(value)
    return entries[0] if len(entries) == 1 else entries[len(entries) - 2 + place]


def _convolution(field: Field, args: Sequence[Any]) -> Field:
    weight, stride, padding, dilation, transposed = args[1], args[3], args[4], args[5], args[6]
    if transposed or weight.ndim != 4:  # channel attention convolves along the channels, in one dimension
        return everything(weight.ndim)
    return field.mapped(
        lambda place, span: span.window(
            weight.shape[2 + place], _pair(stride, place), _pair(padding, place), _pair(dilation, place)
        )
    )


def _pooling(field: Field, args: Sequence[Any], dilated: bool) -> Field:
    def option(number: int, default: Any) -> Any:
        return args[number] if len(args) > number and args[number] not in ((), []) else default

    kernel, padding = args[1], option(3, 0)
    stride, dilation = option(2, kernel), option(4, 1) if dilated else 1
    return field.mapped(
        lambda place, span: span.window(
            _pair(kernel, place), _pair(stride, place), _pair(padding, place), _pair(dilation, place)
        )
    )


def _deformable(field: Field, args: Sequence[Any]) -> Field:
    weight, strides, paddings, dilations = args[1], args[5:7], args[7:9], args[9:11]
    return field.mapped(
        lambda place, span: span.window(
            weight.shape[2 + place], strides[place], paddings[place], dilations[place]
        )
    )


def _slice(field: Field, args: Sequence[Any]) -> Field:
    x, dim = args[0], (args[1] if len(args) > 1 else 0) % args[0].ndim
    start = args[2] if len(args) > 2 and args[2] is not None else 0
    step = args[4] if len(args) > 4 else 1
    start = max(0, start + x.shape[dim]) if start < 0 else start
    return field.mapped(lambda place, span: span.shifted(start, step) if field.axes[place] == dim else span)


def _pad(field: Field, args: Sequence[Any]) -> Field:
    x, amounts = args[0], args[1]

    def change(place: int, span: Span) -> Span:
        from_last = x.ndim - 1 - field.axes[place]
        return span.shifted(-amounts[2 * from_last]) if len(amounts) > 2 * from_last else span

    return field.mapped(change)


def _permute(field: Field, args: Sequence[Any]) -> Field:
    order = [dim % args[0].ndim for dim in args[1]]
    return replace(field, axes=(order.index(field.axes[0]), order.index(field.axes[1])))


def _transpose(field: Field, args: Sequence[Any]) -> Field:
    order = list(range(args[0].ndim))
    a, b = (dim % args[0].ndim for dim in args[1:3])
    order[a], order[b] = order[b], order[a]
    return _permute(field, (args[0], order))


def _view(field: Field, x: Tensor, out: Tensor) -> Field:
    """Other axes may be split or merged, as long as the last two stay the image's."""
    last = (x.ndim - 2, x.ndim - 1)
    if field.axes == last and out.ndim >= 3 and out.shape[-2:] == x.shape[-2:]:
        return replace(field, axes=(out.ndim - 2, out.ndim - 1))
    return everything(out.ndim)


def _reduce(field: Field, args: Sequence[Any], out: Tensor) -> Field:
    x = args[0]
    dims = args[1] if len(args) > 1 and args[1] is not None else list(range(x.ndim))
    gone = {dim % x.ndim for dim in ([dims] if isinstance(dims, int) else dims)}
    if gone & set(field.axes):
        return everything(out.ndim)
    if out.ndim == x.ndim:
        return field
    return replace(field, axes=tuple(axis - sum(dim < axis for dim in gone) for axis in field.axes))


PASS = {
    aten.native_batch_norm,
    aten._native_batch_norm_legit_no_training,
    aten._native_batch_norm_legit,
    aten.cudnn_batch_norm,
    aten.native_group_norm,
    aten.native_layer_norm,
    aten.native_dropout,
    aten.clone,
    aten.contiguous,
    aten.detach,
    aten.alias,
    aten._to_copy,
    aten.copy_,
    aten.lift_fresh,
    aten.expand,
    aten._softmax,
    aten.channel_shuffle,
    aten.native_channel_shuffle,
    # Elementwise, but no version of torch, or not yet 2.8, tags them as such.
    aten.leaky_relu,
    aten.leaky_relu_,
    aten.elu_,
    aten.celu_,
    aten.selu_,
    aten.hardtanh_,
    aten.hardsigmoid_,
    aten.hardswish,
    aten.hardswish_,
    aten.ldexp,
    aten.ldexp_,
}
# Operations that read only the shape of their input.
FRESH = {aten.zeros_like, aten.ones_like, aten.empty_like, aten.full_like, aten.rand_like, aten.randn_like}
VIEWS = {aten.view, aten._unsafe_view, aten.reshape, aten.unsqueeze, aten.squeeze, aten._reshape_alias}
REDUCTIONS = {aten.mean, aten.sum, aten.amax, aten.amin, aten.linalg_vector_norm, aten.max, aten.cumsum}
MAX_POOLS = {aten.max_pool2d_with_indices, aten.max_pool2d, aten.mkldnn_max_pool2d}
AVERAGE_POOLS = {aten.avg_pool2d, aten.avg_pool3d}


class Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, notes the field of everything that is computed from ``image`` (N, C, H, W)."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fields = WeakTensorKeyDictionary()
        self.fields[image] = Field()

    def of(self, value: object) -> Field | None:
        """The field of a tensor; None for what doesn't depend on the image."""
        found: Field | None = (
            self.fields.get(value) if isinstance(value, Tensor) else None  # type: ignore[no-untyped-call]
        )
        return found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        # Lists of tensors too, as cat takes and split gives.
        inputs = [t for a in args for t in (a if isinstance(a, list | tuple) else [a])]
        known = [self.of(value) for value in inputs]
        fields = [field for field in known if field is not None]
        if fields and func.overloadpacket not in FRESH:
            outputs = [t for t in (out if isinstance(out, list | tuple) else [out]) if isinstance(t, Tensor)]
            for tensor in outputs:
                self.fields[tensor] = _after(func, fields, args, tensor)
        return out


def _after(func: Any, fields: Sequence[Field], args: Sequence[Any], out: Tensor) -> Field:
    packet, field = func.overloadpacket, fields[0]
    if packet is aten.convolution:
        return _convolution(field, args)
    if packet in MAX_POOLS or packet in AVERAGE_POOLS:
        return _pooling(field, args, packet in MAX_POOLS)
    if func.namespace == "torchvision" and "deform_conv2d" in str(func):
        return _deformable(field, args)
    if packet is aten.slice:
        return _slice(field, args)
    if packet is aten.constant_pad_nd:
        return _pad(field, args)
    if packet is aten.permute:
        return _permute(field, args)
    if packet in (aten.transpose, aten.t):
        return _transpose(field, args if packet is aten.transpose else (args[0], 0, 1))
    if packet in VIEWS:
        return _view(field, args[0], out)
    if packet in REDUCTIONS and isinstance(args[0], Tensor):
        # A norm's first argument is its order.
        return _reduce(field, (args[0], *args[2:]) if packet is aten.linalg_vector_norm else args, out)
    if packet in (aten.cat, aten.stack, aten.split, aten.chunk, aten.split_with_sizes):
        return _joined(fields, out)
    if packet in PASS or torch.Tag.pointwise in func.tags:
        return _joined(fields, out)
    # An operation that isn't known here may look anywhere.
    return everything(out.ndim)


def _joined(fields: Sequence[Field], out: Tensor) -> Field:
    """Field of maps that are combined place by place (added, concatenated, stacked)."""
    joined = fields[0]
    for other in fields[1:]:
        joined = joined | other
    return joined if max(joined.axes) < out.ndim else everything(out.ndim)
