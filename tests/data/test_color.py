from __future__ import annotations

import colorsys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torchvision.transforms.v2 import functional as tv

from convsmith.data.color import Brightness, Contrast, Hue, Saturation, hue_matrix, recolor
from convsmith.data.fancy_pca import FancyPca
from convsmith.data.hsv import Hsv, shift_hsv
from convsmith.data.shuffle import generator

FACTORS = st.floats(0, 2)


def photo(seed: int = 0) -> torch.Tensor:
    """(1, 3, 9, 7) in [0, 255]."""
    return torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(seed)) * 255


def ours(augmentation: object, factor: float, image: torch.Tensor) -> torch.Tensor:
    mean = image.mean((2, 3)) / 255
    return recolor(image, augmentation.colors(torch.tensor([factor]), mean))  # type: ignore[attr-defined]


@given(factor=FACTORS)
def test_brightness_contrast_saturation_are_torchvisions(factor: float) -> None:
    """Its weights of red, green and blue have a digit more; values are in [0, 255]."""
    image = photo()
    for own, theirs in (
        (Brightness(), tv.adjust_brightness),
        (Contrast(), tv.adjust_contrast),
        (Saturation(), tv.adjust_saturation),
    ):
        assert torch.allclose(ours(own, factor, image), theirs(image / 255, factor) * 255, atol=0.1)


@given(turns=st.floats(-0.5, 0.5))
def test_hue_turns_chroma_and_keeps_luminance(turns: float) -> None:
    red, green, blue = 0.5, 0.3, 0.4
    color = torch.tensor([red, green, blue, 1.0])
    turned = (hue_matrix(torch.tensor([turns]))[0] @ color)[:3].tolist()
    y, i, q = colorsys.rgb_to_yiq(red, green, blue)
    angle = 2 * np.pi * turns
    luma = 0.299 * turned[0] + 0.587 * turned[1] + 0.114 * turned[2]
    assert luma == pytest.approx(0.299 * red + 0.587 * green + 0.114 * blue, abs=1e-4)
    new_i = 0.5959 * turned[0] - 0.2746 * turned[1] - 0.3213 * turned[2]
    new_q = 0.2115 * turned[0] - 0.5227 * turned[1] + 0.3112 * turned[2]
    assert new_i == pytest.approx(i * np.cos(angle) - q * np.sin(angle), abs=5e-3)
    assert new_q == pytest.approx(i * np.sin(angle) + q * np.cos(angle), abs=5e-3)
    assert y == pytest.approx(luma, abs=2e-3), "colorsys rounds its weights"


def test_grey_has_no_hue() -> None:
    grey = torch.full((1, 3, 2, 2), 77.0)
    assert torch.allclose(recolor(grey, hue_matrix(torch.tensor([0.3]))), grey, atol=1e-3)


@given(turns=st.floats(-0.5, 0.5))
def test_hsv_hue_is_torchvisions(turns: float) -> None:
    image = photo(1)
    one = torch.ones(1)
    theirs = tv.adjust_hue(image / 255, turns) * 255
    assert torch.allclose(shift_hsv(image, torch.tensor([turns]), one, one), theirs, atol=0.05)


@given(hue=st.floats(-0.5, 0.5), saturation=FACTORS, value=FACTORS)
def test_hsv_is_matplotlibs(hue: float, saturation: float, value: float) -> None:
    image = photo(2)
    hsv = mpl.colors.rgb_to_hsv(image[0].permute(1, 2, 0).numpy() / 255)
    changed = np.stack(
        [(hsv[..., 0] + hue) % 1, (hsv[..., 1] * saturation).clip(0, 1), (hsv[..., 2] * value).clip(0, 1)], -1
    )
    expected = mpl.colors.hsv_to_rgb(changed) * 255
    found = shift_hsv(image, *(torch.tensor([own]) for own in (hue, saturation, value)))
    assert found[0].permute(1, 2, 0).numpy() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("factor", [0.4, 1.7])
def test_grey_images_are_treated_as_three_equal_channels(factor: float) -> None:
    grey = photo()[:, :1]
    for own in (Brightness(), Contrast(), Saturation()):
        three = ours(own, factor, grey.expand(-1, 3, -1, -1))
        mean = (grey.mean((2, 3)) / 255).expand(-1, 3)
        one = recolor(grey, own.colors(torch.tensor([factor]), mean))
        assert torch.allclose(three, one.expand(-1, 3, -1, -1), atol=1e-3)
    assert torch.allclose(Hsv().change(grey, torch.tensor([[0.1, 0.5, 0.5]])), grey / 2)


def test_amounts_bound_uniform_draws() -> None:
    for own, low, high in (
        (Brightness(0.3), 0.7, 1.3),
        (Contrast(0.2), 0.8, 1.2),
        (Saturation(1.0), 0.0, 2.0),
        (Hue(0.1), -0.1, 0.1),
    ):
        assert kstest(own.draw(4000, generator(3)).numpy(), "uniform", (low, high - low)).pvalue > 1e-4
    drawn = Hsv(0.1, 0.2, 0.3).draw(4000, generator(4)).T.numpy()
    for values, low, high in zip(drawn, (-0.1, 0.8, 0.7), (0.1, 1.2, 1.3)):
        assert kstest(values, "uniform", (low, high - low)).pvalue > 1e-4


def test_fancy_pca_follows_the_formula() -> None:
    """The shift is P (alpha * lambda), with numpy's own eigenvectors, up to their signs."""
    pixels = np.random.default_rng(0).normal(size=(500, 3)) @ np.array(
        [[0.2, 0.1, 0], [0, 0.1, 0.05], [0, 0, 0.02]]
    )
    covariance = np.cov(pixels.T)
    own = FancyPca(torch.tensor(covariance), std=0.1)
    drawn = own.draw(40_000, generator(5))
    assert kstest(drawn.flatten().numpy() / 0.1, "norm").pvalue > 1e-4
    shifts = own.colors(drawn, torch.zeros(len(drawn), 3))[:, :3, 3].numpy()
    values, vectors = np.linalg.eigh(covariance)
    expected = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    found = np.cov(shifts.T)
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    one = own.colors(torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 3))[0, :3, 3].numpy()
    assert np.abs(one) == pytest.approx(np.abs(values[0] * vectors[:, 0]), rel=1e-3)
