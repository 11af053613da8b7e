"""What holds for every layer that a net can be built of."""

from __future__ import annotations

import io
from collections.abc import Callable

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


def build(kind: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    shape = {"channels": CHANNELS, "in_channels": CHANNELS, "out_channels": 6}
    window = {"kernel_size": 3 if kind == "convolution" else 2, "padding": 0}
    if kind == "convolution":
        window.pop("padding")
    layer: nn.Module = catalog.build(kind, name, **shape, **window)
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
    if training and name in ("stochastic", "rrelu", "inverted", "classic"):
        pytest.skip("draws in memory's order")
    other = x.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(layer(other * 1), layer(x * 1), atol=1e-5)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(kind: str, name: str, dtype: torch.dtype) -> None:
    layer = build(kind, name).eval()
    expected = layer(images(kind))
    if name == "deformable":
        # The operator has no half precision on the CPU; autocast hands it float32.
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(images(kind))
    else:
        found = layer.to(dtype)(images(kind).to(dtype))
        assert found.dtype == dtype
    assert torch.allclose(found.float(), expected, rtol=0.05, atol=0.05)


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
