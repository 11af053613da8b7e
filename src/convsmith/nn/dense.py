"""Fully connected layers as convolutions and back: a classifier that slides over larger images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils import parametrize, prune

from convsmith.errors import UserError
from convsmith.nn.computed import computed, copied, forms_of


def linear_to_conv(layer: nn.Linear, shape: tuple[int, int, int]) -> nn.Conv2d:
    """The convolution that does to a map (C, h, w) what ``layer`` does to its flattened values.

    A parametrization or pruning mask of the layer goes over: the convolution computes its kernels from the
    same stored tensors, so that what is masked stays masked when it is trained.

    Raises:
        UserError: if the layer reads another number of values, or computes its weight by a hook of torch's
            older kind other than pruning.

    >>> linear_to_conv(nn.Linear(512 * 7 * 7, 16), (512, 7, 7))
    Conv2d(512, 16, kernel_size=(7, 7), stride=(1, 1))
    """
    channels, height, width = shape
    if layer.in_features != channels * height * width:
        raise UserError(
            f"a layer that reads {layer.in_features} values is no convolution over "
            f"{channels}x{height}x{width}"
        )
    conv = nn.Conv2d(channels, layer.out_features, (height, width), bias=layer.bias is not None)
    conv.to(layer.weight)
    with torch.no_grad():
        conv.weight.copy_(layer.weight.view_as(conv.weight))
        if layer.bias is not None and conv.bias is not None:
            conv.bias.copy_(layer.bias)
    _carry_over(layer, conv)
    return conv.train(layer.training)


class _Kernels(nn.Module):
    """The last of a convolution's parametrizations: a matrix (O, C h w) as kernels (O, C, h, w)."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.view(self.shape)

    def right_inverse(self, kernels: Tensor) -> Tensor:
        return kernels.flatten(1)


def _carry_over(layer: nn.Linear, conv: nn.Conv2d) -> None:
    """Let ``conv`` compute its weight and bias as ``layer`` does."""
    old: Any = layer
    new: Any = conv
    for key in computed(layer):
        if hasattr(layer, f"{key}_mask"):
            original, mask = (getattr(layer, f"{key}_{part}").detach() for part in ("orig", "mask"))
            plain = getattr(conv, key)
            plain.data.copy_(original.view_as(plain))
            prune.custom_from_mask(conv, key, mask.view_as(plain))  # type: ignore[no-untyped-call]
        elif parametrize.is_parametrized(layer, key):
            forms = copy.deepcopy(old.parametrizations[key])
            if key == "weight":
                forms.append(_Kernels(conv.weight.shape))
            # Any form makes torch change the class; then the layer's own takes its place.
            parametrize.register_parametrization(conv, key, nn.Identity(), unsafe=True)
            new.parametrizations[key] = forms
        else:
            raise UserError(
                f"a layer whose {key} is computed by {forms_of(layer, key)} can't become a convolution; take "
                f"torch.nn.utils.parametrizations instead of the older hook, or remove it first"
            )


def conv_to_linear(layer: nn.Conv2d, shape: tuple[int, int, int]) -> nn.Linear:
    """The fully connected layer that does to the flattened map (C, h, w) what ``layer`` does to the map.

    Its matrix holds each kernel at each place (a doubly blocked Toeplitz matrix): quadratic in the map's
    size, so for small maps. It is a plain matrix of the present kernels, also where a parametrization
    computes them: a mask of kernels isn't carried over.

    >>> conv_to_linear(nn.Conv2d(1, 2, 3), (1, 4, 4))
    Linear(in_features=16, out_features=8, bias=True)
    """
    inputs = math.prod(shape)
    with torch.no_grad():
        places = torch.eye(inputs, dtype=layer.weight.dtype, device=layer.weight.device).view(-1, *shape)
        offset = layer(torch.zeros_like(places[:1])).flatten()
        columns = layer(places).flatten(1) - offset
        linear = nn.Linear(inputs, len(offset), bias=layer.bias is not None).to(layer.weight)
        linear.weight.copy_(columns.T)
        if linear.bias is not None:
            linear.bias.copy_(offset)
    return linear.train(layer.training)


class _Tracer(fx.Tracer):
    """Traces into nets, not into layers without children, except for poolings over a whole map."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m).__name__ in ("GlobalAverage", "GeneralizedMean"):
            return False
        own = type(m).__module__.startswith("convsmith.nn") and not any(True for _ in m.children())
        return own or super().is_leaf_module(m, module_qualified_name)


def to_fully_convolutional(model: nn.Module, shape: tuple[int, int, int]) -> fx.GraphModule:
    """A copy of a classifier whose fully connected layers are convolutions (Long et al. 2015, section 3.1).

    For images of ``shape`` it gives the same scores, as a map (N, K, 1, 1); for larger ones the scores of
    the classifier at every place that its subsampling allows, (N, K, h, w). Global poolings become
    poolings over a window as large as the map was.

    Args:
        model: any net that torch.fx can trace, of this package, torchvision or timm.
        shape: of the images (C, H, W) that the classifier is for.

    Raises:
        UserError: if the net can't be traced, or flattens in a way that isn't known.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5))
    >>> to_fully_convolutional(net, (1, 4, 4))(torch.zeros(1, 1, 6, 4)).shape
    torch.Size([1, 5, 3, 1])
    """
    net = copied(model).eval()
    try:
        graph = _Tracer().trace(net)
        module = fx.GraphModule(net, graph)
        first = next(net.parameters(), torch.zeros(()))
        ShapeProp(module).propagate(torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    except Exception as error:  # tracing runs the net's own code
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"this net can't be made fully convolutional: {line}") from None
    # For each node that was a vector and now is a map: the (C, h, w) that its values come from.
    vectors: dict[fx.Node, tuple[int, int, int]] = {}
    for node in list(graph.nodes):
        _convert(node, module, vectors)
    graph.lint()
    module.recompile()
    module.delete_all_unused_submodules()  # the layers that convolutions stand for now
    return module


def _shape(node: fx.Node) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta")
    return tuple(getattr(meta, "shape", ()))


def _convert(node: fx.Node, module: fx.GraphModule, vectors: dict[fx.Node, tuple[int, int, int]]) -> None:
    source = next(iter(node.all_input_nodes), None)
    if source is None or node.op not in ("call_module", "call_function", "call_method"):
        return
    before, after = _shape(source), _shape(node)
    layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
    shrinks = len(before) == 4 and math.prod(after[2:]) == 1 < math.prod(before[2:])
    if shrinks and source not in vectors and _is_mean(node, layer):
        _replace(node, module, nn.AvgPool2d((before[2], before[3]), stride=1))
        vectors[node] = (before[1], 1, 1)
        return
    if len(before) == 4 and source not in vectors:
        if len(after) == 2 and math.prod(after) == math.prod(before) and not isinstance(layer, nn.Linear):
            _replace(node, module, nn.Identity())
            vectors[node] = (before[1], before[2], before[3])
        elif isinstance(layer, nn.AdaptiveAvgPool2d) and before == after:
            _replace(node, module, nn.Identity())
        return
    if source not in vectors:
        return
    if isinstance(layer, nn.Linear):
        _replace(node, module, linear_to_conv(layer, vectors[source]))
        vectors[node] = (layer.out_features, 1, 1)
    elif isinstance(layer, nn.BatchNorm1d):
        _replace(node, module, _as_2d(layer))
        vectors[node] = vectors[source]
    elif math.prod(after) == math.prod(before):
        # Elementwise, or one more flattening of what is a vector already.
        if (
            len(after) != len(before)
            or isinstance(layer, nn.Flatten)
            or node.target in ("flatten", torch.flatten)
        ):
            _replace(node, module, nn.Identity())
        vectors[node] = vectors[source]
    else:
        raise UserError(
            f"this net can't be made fully convolutional: {node.target} makes {after} of {before}, which "
            f"isn't known here"
        )


def _is_mean(node: fx.Node, layer: nn.Module | None) -> bool:
    means: tuple[Callable[..., Any], ...] = (torch.mean, nn.functional.adaptive_avg_pool2d)
    if isinstance(layer, nn.AdaptiveAvgPool2d) or node.target == "mean" or node.target in means:
        return True
    if isinstance(layer, nn.AdaptiveMaxPool2d):
        raise UserError("this net can't be made fully convolutional: it takes the maximum of whole maps")
    return False


def _as_2d(layer: nn.BatchNorm1d) -> nn.BatchNorm2d:
    for key in computed(layer):
        raise UserError(
            f"this net can't be made fully convolutional: the {key} of a BatchNorm1d is computed by "
            f"{forms_of(layer, key)}; remove the parametrization first"
        )
    norm = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine)
    norm.load_state_dict(layer.state_dict())
    return norm.to(layer.running_mean).train(layer.training)


def _replace(node: fx.Node, module: fx.GraphModule, layer: nn.Module) -> None:
    """Let ``layer`` do what the node did, to the node's first input."""
    name = f"dense_{node.name}"
    module.add_submodule(name, layer)
    node.op, node.target, node.kwargs = "call_module", name, {}
    node.args = (node.all_input_nodes[0],)
