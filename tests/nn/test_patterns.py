from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from scipy.signal import convolve2d
from torch import nn

from convsmith import catalog
from convsmith.errors import UserError
from convsmith.models.resnet import small_resnet
from convsmith.nn.patterns import PATTERNS, bank, gabor, pattern

IMAGE = np.random.default_rng(0).normal(size=(12, 13))


def answer(kernel: torch.Tensor) -> np.ndarray:
    return scipy.ndimage.correlate(IMAGE, kernel.numpy(), mode="nearest")


def test_three_by_three_are_scipys() -> None:
    np.testing.assert_allclose(answer(pattern("sobel_x")), scipy.ndimage.sobel(IMAGE, 1, mode="nearest"))
    np.testing.assert_allclose(answer(pattern("sobel_y")), scipy.ndimage.sobel(IMAGE, 0, mode="nearest"))
    np.testing.assert_allclose(answer(pattern("prewitt_x")), scipy.ndimage.prewitt(IMAGE, 1, mode="nearest"))
    np.testing.assert_allclose(answer(pattern("prewitt_y")), scipy.ndimage.prewitt(IMAGE, 0, mode="nearest"))
    np.testing.assert_allclose(answer(pattern("laplacian")), scipy.ndimage.laplace(IMAGE, mode="nearest"))
    assert pattern("edge").int().tolist() == [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]


def test_larger_sobel_is_the_smoothed_small_one() -> None:
    smooth = np.outer([1, 2, 1], [1, 2, 1])
    expected = convolve2d(pattern("sobel_x").numpy(), smooth)
    np.testing.assert_allclose(pattern("sobel_x", 5).numpy(), expected)
    expected = convolve2d(pattern("laplacian").numpy(), smooth)
    np.testing.assert_allclose(pattern("laplacian", 5).numpy(), expected)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("size", [3, 5, 7])
def test_no_pattern_answers_to_an_even_surface(name: str, size: int) -> None:
    assert pattern(name, size).sum().item() == pytest.approx(0, abs=1e-12)  # type: ignore[arg-type]


def test_directions() -> None:
    vertical_edge = torch.zeros(9, 9, dtype=torch.double)
    vertical_edge[:, 5:] = 1
    for name in ("sobel", "prewitt"):
        along = convolve2d(vertical_edge, pattern(f"{name}_x").numpy(), "valid")  # type: ignore[arg-type]
        across = convolve2d(vertical_edge, pattern(f"{name}_y").numpy(), "valid")  # type: ignore[arg-type]
        assert np.abs(along).max() > 1
        assert np.abs(across).max() < 1e-12
    stripes = torch.cos(2 * torch.pi * torch.arange(9.0) / 6)[None].expand(9, 9).double()
    answers = [abs(float((gabor(9, degrees, wavelength=6.0) * stripes).sum())) for degrees in (0, 45, 90)]
    assert answers[0] > 3 * answers[1]
    assert answers[0] > 10 * answers[2]


def test_gabor_is_the_formula() -> None:
    y, x = np.mgrid[-2:3, -2:3]
    turned = x * np.cos(0.5) + y * np.sin(0.5)
    expected = np.exp(-(x**2 + y**2) / (2 * 1.5**2)) * np.cos(2 * np.pi * turned / 4 + 0.3)
    found = gabor(5, np.degrees(0.5), wavelength=4.0, sigma=1.5, phase=0.3)
    np.testing.assert_allclose(found.numpy(), expected - expected.mean(), atol=1e-12)


def test_the_bank_has_no_kernel_twice() -> None:
    kernels = bank(32, 5).flatten(1)
    likeness = (kernels @ kernels.T).abs() - torch.eye(32).double()
    assert likeness.max() < 0.999


def test_a_net_starts_with_the_patterns_and_keeps_fixed_ones() -> None:
    torch.manual_seed(0)
    net = small_resnet(20, width=8, init={"patterns": {"fixed": True, "filters": ["sobel_x", "laplacian"]}})
    first = net.conv1.weight
    assert not first.requires_grad
    kernel = first[0].sum(0) / first[0].sum(0)[1, 2]
    assert torch.allclose(kernel, torch.tensor([[-0.5, 0, 0.5], [-1, 0, 1], [-0.5, 0, 0.5]]), atol=1e-6)
    assert first.flatten(1).norm(dim=1).tolist() == pytest.approx([2**0.5] * 8)
    assert net.layer1[0].conv1.weight.std() > 0.05


def test_mistakes() -> None:
    with pytest.raises(UserError, match="odd size of at least 3.* got 4"):
        pattern("sobel_x", 4)
    with pytest.raises(UserError, match="needs a net with a convolution"):
        catalog.build("init", "patterns")(nn.Linear(2, 2))


@pytest.mark.parametrize("gain", [0.5, 3.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_gain_is_the_answer_to_ones_own_pattern(gain: float, channels: int) -> None:
    """Of a patch of length 1 that looks like the kernel in every channel."""
    net = nn.Sequential(nn.Conv2d(channels, 6, 5))
    catalog.build("init", {"patterns": {"gain": gain}})(net)
    patches = bank(6, 5)[:, None].expand(6, channels, 5, 5).float() / channels**0.5
    answers = nn.functional.conv2d(patches, net[0].weight).flatten(1)
    assert answers.diag().tolist() == pytest.approx([gain] * 6, rel=1e-5)
