"""What holds for every layer that a net can be built of."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from convsmith import catalog

KINDS = ("activation", "pooling", "global_pooling", "norm", "dropout", "neck", "convolution")
LAYERS = [(kind, name) for kind in KINDS for name in catalog.names(kind)]
EVERY = pytest.mark.parametrize(("kind", "name"), LAYERS)
CHANNELS = 4


def build(kind: str, name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    shape = {"channels": CHANNELS, "in_channels": CHANNELS, "out_channels": 6}
    window = {"kernel_size": 3 if kind == "convolution" else 2, "padding": 0}
    if kind == "convolution":
        window.pop("padding")
    layer: nn.Module = catalog.build(kind, {name: options}, **shape, **window)
    for key, parameter in layer.named_parameters():
        if key.startswith("offsets"):  # what starts at zero shall not be tested at zero
            nn.init.normal_(parameter, std=0.3)
    return layer


def images(kind: str, *, n: int = 3, height: int = 7, width: int = 5) -> Tensor:
    """Odd sides; away from 0, where rectifiers have their kink."""
    draws = torch.Generator().manual_seed(1)
    shape = (n, CHANNELS) if kind == "neck" else (n, CHANNELS, height, width)
    x = torch.randn(shape, generator=draws)
    x = x + 0.1 * x.sign()
    return x.abs() if kind.endswith("pooling") else x


def seeded(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return layer(x * 1)  # a copy: some work in place

    return call


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_gradient_by_finite_differences(kind: str, name: str, training: bool) -> None:
    layer = build(kind, name).double().train(training)
    x = images(kind, n=2, height=4, width=3).double().requires_grad_()
    parameters = tuple(layer.parameters())
    # Random layers repeat their draws; batch statistics move, but aren't part of the output.
    assert torch.autograd.gradcheck(lambda x, *_: seeded(layer)(x), (x, *parameters), atol=1e-4)


@EVERY
def test_no_images_give_no_outputs(kind: str, name: str) -> None:
    layer = build(kind, name).eval()
    shape = layer(images(kind)).shape
    assert layer(images(kind, n=0)).shape == (0, *shape[1:])


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_memory_format_is_no_matter(kind: str, name: str, training: bool) -> None:
    if kind == "neck":
        pytest.skip("reads vectors")
    layer = build(kind, name).train(training)
    x = images(kind)
    if training and name in RANDOM:
        pytest.skip("draws in memory's order")
    other = x.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(layer(other * 1), layer(x * 1), atol=1e-5)


# Options whose formula differs from the default's, each with its kind and name.
OPTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("pooling", "p_norm", {"p": 1.0}),
    ("pooling", "p_norm", {"p": 1.0, "learn": True}),
    ("pooling", "p_norm", {"p": 3.5}),
    ("pooling", "p_norm", {"p": 40.0, "learn": True}),
    ("pooling", "p_norm", {"p": float("inf")}),
    ("global_pooling", "generalized_mean", {"p": 1.0}),
    ("global_pooling", "generalized_mean", {"p": 20.0}),
    ("global_pooling", "generalized_mean", {"eps": 0.0}),
    ("norm", "local_response", {"k": 0.0, "alpha": 1.0, "beta": 0.5, "size": 7}),
    ("norm", "local_response", {"k": 1.0, "alpha": 1.0}),
    ("convolution", "deformable", {"modulated": False}),
]
WITH_OPTIONS = pytest.mark.parametrize(
    ("kind", "name", "options"), [(kind, name, {}) for kind, name in LAYERS] + OPTIONS
)
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
RANDOM = ("stochastic", "rrelu", "inverted", "classic")


def answers(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs, and the gradient of their weighted sum for the inputs; in double precision."""
    x = x.clone().requires_grad_()
    y = seeded(layer)(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.double).view(y.shape)
    (slope,) = torch.autograd.grad((y.double() * weights).sum(), x)
    return y.detach().double(), slope.double()


def agree(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Within the type's precision, as a share of the largest value: of sums of some dozen products."""
    error = (found - expected).abs().max()
    # below the last term float16 has no numbers, and slopes of a saturated sigmoid none in float32
    return bool(error <= 32 * torch.finfo(dtype).eps * expected.abs().max() + 2**-24)


@WITH_OPTIONS
@HALF
@pytest.mark.parametrize(
    ("scale", "training"), [(300.0, True), (300.0, False), (1e-4, True), (1e-4, False), (1.0, False)]
)
def test_half_precision(
    kind: str, name: str, options: dict[str, Any], dtype: torch.dtype, scale: float, training: bool
) -> None:
    """Against float64 on the same inputs and weights, values and slopes: true half precision and autocast."""
    if training and name in RANDOM:
        pytest.skip("draws")
    layer = build(kind, name, **options).to(dtype).train(training)
    x = (images(kind) * scale).to(dtype)
    expected = answers(copy.deepcopy(layer).double(), x.double())
    found = answers(copy.deepcopy(layer), x)
    mixed = copy.deepcopy(layer).float()
    with torch.autocast("cpu", dtype):
        # what comes out of a convolution is half, what comes from a normalization may be float32
        cast = [answers(mixed, x), answers(mixed, x.float())]
    for outputs, slopes in (found, *cast):
        assert agree(outputs, expected[0], dtype)
        assert agree(slopes, expected[1], dtype)
    assert layer(x.clone()).dtype == dtype


@WITH_OPTIONS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_zeros_have_finite_slopes(kind: str, name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    """A map of zeros is an image's black corner, or a unit that is silent."""
    for training in (True, False):
        layer = build(kind, name, **options).to(dtype).train(training)
        for part in (1, 2):  # all zeros, then half of them
            x = images(kind).to(dtype)
            x[:, ::part] = 0
            x.requires_grad_()
            y = seeded(layer)(x)
            y.sum().backward()
            for tensor in (y, x.grad, *(p.grad for p in layer.parameters())):
                assert tensor is None or (tensor.isfinite().all() and tensor.abs().max() < 1e4)


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_compiles_in_one_piece(kind: str, name: str, training: bool) -> None:
    torch._dynamo.reset()
    layer = build(kind, name).train(training)
    x = images(kind).requires_grad_()
    expected = seeded(layer)(x)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.manual_seed(3)
    found = compiled(x * 1)
    assert torch.allclose(found, expected, atol=1e-5)


@EVERY
def test_exports_to_onnx(kind: str, name: str) -> None:
    layer = build(kind, name).eval()
    x = images(kind)
    expected = layer(x * 1)
    with torch.no_grad():
        program = torch.onnx.export(layer, (x * 1,), dynamo=True, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-4)


@EVERY
@pytest.mark.gpu
def test_the_gpu_agrees(kind: str, name: str) -> None:
    layer = build(kind, name).eval()
    expected = layer(images(kind))
    found = layer.cuda()(images(kind).cuda())
    assert torch.allclose(found.cpu(), expected, atol=1e-4)
