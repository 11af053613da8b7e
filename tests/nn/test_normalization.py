from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from convsmith import catalog
from convsmith.nn.normalization import L2Norm, LocalResponseNorm, feature_norm

X = np.random.default_rng(0).normal(size=(3, 7, 4, 5))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_is_the_papers_formula(size: int) -> None:
    """b_i = a_i / (k + alpha sum_{j = max(0, i - n/2)}^{min(N-1, i + n/2)} a_j^2)^beta."""
    k, alpha, beta = 2.0, 0.3, 0.75
    expected = np.empty_like(X)
    for i in range(7):
        around = slice(max(0, i - size // 2), min(7, i + size // 2 + 1))
        expected[:, i] = X[:, i] / (k + alpha * (X[:, around] ** 2).sum(1)) ** beta
    found = LocalResponseNorm(7, size, alpha, beta, k).double()(torch.from_numpy(X))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_l2_is_local_response_over_all_channels() -> None:
    """k = 0, alpha = 1, beta = 1/2 and a window that reaches all channels from each; torch's own layer
    says alpha = n for the same, since it divides by the size."""
    x = torch.from_numpy(X)
    whole = 2 * 7 - 1
    found = LocalResponseNorm(7, whole, alpha=1.0, beta=0.5, k=0.0).double()(x)
    assert torch.allclose(found, L2Norm(7).double()(x), rtol=1e-12)
    assert torch.allclose(found, torch.nn.LocalResponseNorm(whole, alpha=float(whole), beta=0.5, k=0.0)(x))
    assert torch.allclose(found.square().sum(1), torch.ones(()).double())


def standardized(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def test_statistics_are_taken_over_the_right_axes() -> None:
    x = torch.from_numpy(X[:, :6])
    images = X[:, :6]
    expected = {
        "none": images,
        "batch": standardized(images, (0, 2, 3)),
        "layer": standardized(images, (1, 2, 3)),
        "instance": standardized(images, (2, 3)),
        "group": standardized(images.reshape(3, 2, 3, 4, 5), (2, 3, 4)).reshape(images.shape),
    }
    for name, values in expected.items():
        spec = {"group": {"groups": 2}} if name == "group" else name
        layer = catalog.build("norm", spec, channels=6).double()
        np.testing.assert_allclose(layer(x).detach().numpy(), values, atol=1e-9, err_msg=name)


def test_groups_that_do_not_divide_fall_back_to_their_common_divisor() -> None:
    assert catalog.build("norm", "group", channels=48).num_groups == 16
    assert catalog.build("norm", "group", channels=7).num_groups == 1


def test_feature_norm_has_no_parameters_and_keeps_statistics_for_test() -> None:
    torch.manual_seed(0)
    layer = feature_norm(5, momentum=1.0)
    x = torch.randn(64, 5) * 3 + 2
    y = layer(x)
    assert not list(layer.parameters())
    assert torch.allclose(y.mean(0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(y.var(0, correction=0), torch.ones(5), atol=1e-3)
    expected = (x - x.mean(0)) / torch.sqrt(x.var(0) + 1e-5)
    assert torch.allclose(layer.eval()(x), expected, atol=1e-5)


def test_l2_scale_is_learned_by_channel() -> None:
    layer = L2Norm(7, scale=20.0).double()
    x = torch.from_numpy(X)
    assert torch.allclose(layer(x), 20 * F.normalize(x, dim=1))
    with torch.no_grad():
        layer.weight[2] = 0
    assert not layer(x)[:, 2].any()
    assert layer(x)[:, 3].any()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_local_response_is_torchs_up_to_the_division_by_size(size: int) -> None:
    x = torch.from_numpy(X)
    found = LocalResponseNorm(7, size, 0.2, 0.6, 1.5).double()(x)
    assert torch.allclose(found, torch.nn.LocalResponseNorm(size, 0.2 * size, 0.6, 1.5)(x))


@pytest.mark.parametrize("left", [1, 3, 6])
@pytest.mark.parametrize("size", [1, 4, 5])
def test_local_response_of_fewer_channels_is_that_of_a_layer_for_them(left: int, size: int) -> None:
    """Pruning hands a layer made for 7 channels fewer."""
    x = torch.from_numpy(X[:, :left]).requires_grad_()
    y = torch.from_numpy(X[:, :left]).requires_grad_()
    found = LocalResponseNorm(7, size, 0.3).double()(x)
    expected = LocalResponseNorm(left, size, 0.3).double()(y)
    assert found.equal(expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.equal(y.grad)


def test_local_response_in_half_precision_stores_nothing_and_compiles() -> None:
    layer = LocalResponseNorm(8)
    x = torch.randn(2, 6, 3, 3)
    assert not layer.state_dict(), "files of before and after are the same"
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert compiled(x).equal(layer(x))
    half = LocalResponseNorm(8).bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert half.float().allclose(layer(x), atol=2e-2)


def test_local_response_is_exported_for_fewer_channels(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), LocalResponseNorm(8, alpha=0.5)).eval()
    x = torch.randn(2, 3, 8, 8)
    torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, net(x).detach().numpy(), atol=1e-5)
