from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

from convsmith import catalog
from convsmith.nn.global_pooling import GeneralizedMean
from convsmith.nn.p_norm_pooling import PNormPool2d, p_norm_pool
from convsmith.nn.stochastic_pooling import StochasticPool2d, expected_pool, stochastic_pool


def windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """(N, C, H', W', kernel * kernel), by numpy."""
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    return view.reshape(*view.shape[:4], -1)


@given(
    p=st.sampled_from([1.0, 1.5, 2.0, 3.0, 7.3, 64.0, math.inf]),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_p_norm_is_the_formula(p: float, kernel: int, stride: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 3, 7, 6))
    expected = np.linalg.norm(windows(x, kernel, stride), ord=p, axis=-1)
    found = p_norm_pool(torch.from_numpy(x), p, kernel, stride)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_p_norm_limits() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8).abs()
    assert torch.allclose(PNormPool2d(2, p=1.0)(x), 4 * F.avg_pool2d(x, 2), rtol=1e-6)
    assert PNormPool2d(2, p=math.inf)(x).equal(F.max_pool2d(x, 2))
    large = PNormPool2d(2, p=2000.0)(x)
    assert torch.allclose(large, F.max_pool2d(x, 2), rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_p_norm_neither_overflows_nor_dies(scale: float) -> None:
    """x^64 of these doesn't fit into float32; torch's own layer gives inf or 0 here."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2).mul(scale).requires_grad_()
    y = PNormPool2d(2, p=64.0)(x)
    y.sum().backward()
    assert y.item() == pytest.approx(4.0 * scale, rel=1e-5)
    assert x.grad is not None
    assert torch.allclose(x.grad.flatten(), torch.tensor([0.0, 0, 0, 1]), atol=1e-4)


def test_p_norm_of_nothing_is_nothing_with_a_finite_gradient() -> None:
    for p in (1.5, 2.0, 64.0):
        x = torch.zeros(1, 1, 2, 2, requires_grad=True)
        y = PNormPool2d(2, p=p)(x)
        y.sum().backward()
        assert y.item() == 0
        assert x.grad is not None
        assert not x.grad.any()


def test_a_learned_p_has_the_fixed_ones_values_and_a_right_slope() -> None:
    x = torch.randn(2, 2, 6, 6, dtype=torch.double)
    p = torch.tensor(2.7, dtype=torch.double, requires_grad=True)
    assert torch.allclose(p_norm_pool(x, p, 3, 2), p_norm_pool(x, 2.7, 3, 2))
    assert torch.autograd.gradcheck(lambda p: p_norm_pool(x, p, 3, 2), (p,))
    assert torch.autograd.gradcheck(lambda x, p: p_norm_pool(x, p, 2, 2), (x.requires_grad_(), p))
    layer = PNormPool2d(2, p=3.0, learn=True)
    assert layer.p.item() == pytest.approx(3.0)
    # Windows of which the target is the largest value: p grows.
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    data = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(50):
        optimizer.zero_grad()
        F.mse_loss(layer(data), F.max_pool2d(data, 2)).backward()
        optimizer.step()
    assert layer.p.item() > 5


def test_stochastic_draws_have_the_papers_frequencies() -> None:
    """100,000 draws of one window against p = a / sum(a), chi-square; a zero is never drawn."""
    window = torch.tensor([1.0, 2.0, 0.0, 5.0])
    x = window.view(1, 1, 2, 2).expand(1000, 100, 2, 2).contiguous()
    draws = stochastic_pool(x, 2, 2, torch.Generator().manual_seed(0)).flatten()
    counts = [int((draws == value).sum()) for value in (1.0, 2.0, 5.0)]
    assert sum(counts) == 100_000
    expected = [100_000 * a / 8 for a in (1, 2, 5)]
    assert chisquare(counts, expected).pvalue > 0.001


def test_stochastic_draws_from_every_window() -> None:
    """Overlapping windows: what comes out is one of the window's own values."""
    x = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    y = stochastic_pool(x, 3, 2, torch.Generator().manual_seed(1)).numpy()
    assert (windows(x.numpy(), 3, 2) == y[..., None]).any(-1).all()


def test_stochastic_test_output_is_the_mean_of_its_draws() -> None:
    x = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    many = x.expand(40_000, 2, 4, 4).contiguous()
    draws = stochastic_pool(many, 2, 2, torch.Generator().manual_seed(1))
    error = draws.std(0) / 200
    assert ((draws.mean(0) - expected_pool(x, 2, 2)[0]).abs() < 4 * error).all()
    w = windows(x.numpy(), 2, 2)
    np.testing.assert_allclose(expected_pool(x, 2, 2).numpy(), (w**2).sum(-1) / w.sum(-1))


def test_stochastic_of_zeros_is_zero_and_its_gradient_goes_to_the_drawn_place() -> None:
    layer = StochasticPool2d(2)
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    for mode in (True, False):
        y = layer.train(mode)(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert y.item() == 0
        assert slope.isfinite().all()
    x = torch.tensor([[[[0.0, 7.0], [0.0, 0.0]]]], requires_grad=True)
    (slope,) = torch.autograd.grad(layer.train()(x).sum(), x)
    assert slope.flatten().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("name", catalog.names("pooling"))
@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1)])
def test_sizes_are_those_of_max_pooling(
    name: str, ceil_mode: bool, kernel: int, stride: int, padding: int
) -> None:
    window = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    layer = catalog.build("pooling", name, channels=1, **window)
    for side in range(4, 12):
        x = torch.rand(1, 1, side, side + 1)
        assert layer(x).shape == nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)(x).shape


def test_padding_adds_nothing() -> None:
    """What lies outside is neither drawn nor counted."""
    x = torch.ones(1, 1, 4, 4)
    for layer in (StochasticPool2d(3, 2, 1), StochasticPool2d(3, 2, 1).eval()):
        assert layer(x).unique().tolist() == [1.0]
    assert PNormPool2d(3, 2, 1, p=2.0)(x)[0, 0].tolist() == pytest.approx(
        np.sqrt([[4, 6], [6, 9]]).astype(np.float32)
    )


def test_generalized_mean_goes_from_mean_to_max() -> None:
    x = torch.rand(2, 3, 5, 5) + 0.1
    assert torch.allclose(GeneralizedMean(p=1.0)(x), x.mean((2, 3)))
    assert torch.allclose(GeneralizedMean(p=500.0).double()(x.double()), x.double().amax((2, 3)), rtol=0.01)


def test_a_learned_p_compiles_and_starts_anywhere() -> None:
    for p in (1.0, 3.0, 40.0):
        layer = PNormPool2d(2, p=p, learn=True)
        assert layer.p.item() == pytest.approx(max(p, 1.001), rel=1e-3)
        x = torch.rand(2, 3, 6, 6, requires_grad=True)
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        assert torch.allclose(compiled(x), layer(x), atol=1e-5)
        compiled(x).sum().backward()
        assert layer.raw.grad is not None
        assert layer.raw.grad.isfinite()


def test_a_learned_p_reaches_1_and_turns_back() -> None:
    """At p = 1 the pooling is the sum; its slopes for x and p stay those of the limit."""
    pool = PNormPool2d(2, p=1.0, learn=True)
    with torch.no_grad():
        pool.raw.fill_(-30.0)
    assert torch.as_tensor(pool.p).item() == 1
    x = torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]], requires_grad=True)
    pool(x).sum().backward()
    assert x.grad.flatten().tolist() == [1, 0, 0, 1]  # type: ignore[union-attr]
    assert pool.raw.grad.isfinite()  # type: ignore[union-attr]
    # d/dp of (sum x^p)^(1/p) at p = 1, by a difference
    p = torch.tensor(1.0, dtype=torch.double, requires_grad=True)
    y = p_norm_pool(x.detach().double(), p, 2, 2).sum()
    (slope,) = torch.autograd.grad(y, p)
    nearby = ((3 ** (1 + 1e-6) + 4 ** (1 + 1e-6)) ** (1 / (1 + 1e-6)) - 7) / 1e-6
    assert slope.item() == pytest.approx(nearby, rel=1e-4)


def test_a_generalized_mean_has_the_limits_of_its_p() -> None:
    x = torch.rand(2, 3, 4, 4, dtype=torch.double) * 100
    large, one = GeneralizedMean(p=500.0).double(), GeneralizedMean(p=1.0).double()
    assert torch.allclose(large(x), x.amax((2, 3)), rtol=0.01)
    assert torch.allclose(one(x), x.mean((2, 3)))
    below = GeneralizedMean(p=1.0).double()
    for p in (0.0, -0.01, 0.5, -7.0):
        with torch.no_grad():
            below.p.fill_(p)
        assert torch.allclose(below(x), GeneralizedMean(p=2 - p).double()(x))
        below(x).sum().backward()
        assert below.p.grad < 0  # a smaller parameter is a larger exponent, and a larger mean
        below.p.grad = None


def test_half_precision_places_of_deformable_taps() -> None:
    """A tap 100.3 pixels away: float16 knows 1/16 of a pixel there."""
    from convsmith.nn.convolution import DeformableConv2d

    layer = DeformableConv2d(1, 1, 1, bias=False, modulated=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.offsets.bias.copy_(torch.tensor([0.0, 100.3]))  # type: ignore[union-attr]
    ramp = torch.arange(160.0).expand(1, 1, 2, 160)
    half = layer.half()
    bias = float(half.offsets.bias[1])  # type: ignore[index]
    found = half(((ramp - 80) / 16).half())[0, 0, 0, :50].float()
    assert torch.allclose(found, (ramp[0, 0, 0, :50] + bias - 80) / 16, atol=4e-3)
