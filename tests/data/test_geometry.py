from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from convsmith.data.geometry import (
    Crop,
    Flip,
    Rotate,
    Scale,
    Shear,
    Translate,
    VerticalFlip,
    compose,
    rotation,
    scaling,
    shearing,
    translation,
)
from convsmith.data.resample import interpolate, move
from convsmith.data.shuffle import generator

ROW = torch.zeros(1, dtype=torch.long)
BILINEAR = InterpolationMode.BILINEAR


def photo(height: int = 37, width: int = 37) -> torch.Tensor:
    """Something smooth, (H, W, 3) in [0, 255]: interpolations differ by little where values do."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = [torch.sin(7 * x + 3 * y), torch.cos(5 * y - x), torch.sin(4 * x * y)]
    return (torch.stack(waves, 2) + 1) * 127.5


def shown(image: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return interpolate(image[None], matrix, (image.shape[0], image.shape[1]))[0]


def torchvisions(image: torch.Tensor, **options: object) -> torch.Tensor:
    usual = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    planes = image.permute(2, 0, 1)
    return tv.affine(planes, **{**usual, **options}, interpolation=BILINEAR).permute(1, 2, 0)  # type: ignore[arg-type]


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Within interpolation's rounding, but for the border, where one of the two may still see a pixel."""
    difference = (ours - theirs).abs().amax(2)
    assert (difference < 0.5).float().mean() > 0.97
    inner = slice(8, -8)
    assert difference[inner, inner].max() < 0.05


@given(degrees=st.floats(-180, 180))
def test_rotation_is_torchvisions(degrees: float) -> None:
    image = photo()
    theirs = tv.rotate(image.permute(2, 0, 1), degrees, interpolation=BILINEAR).permute(1, 2, 0)
    same(shown(image, rotation(torch.tensor([degrees]))), theirs)


def test_quarter_turns_go_counterclockwise() -> None:
    image = photo()
    assert torch.allclose(shown(image, rotation(torch.tensor([90.0]))), image.rot90(1, (0, 1)), atol=1e-2)


@given(factor=st.floats(0.6, 2.0))
def test_scaling_is_torchvisions(factor: float) -> None:
    same(shown(photo(), scaling(torch.tensor([factor]))), torchvisions(photo(), scale=factor))


@given(x=st.floats(-30, 30), y=st.floats(-30, 30))
def test_shearing_is_torchvisions(x: float, y: float) -> None:
    same(shown(photo(), shearing(torch.tensor([[x, y]]))), torchvisions(photo(), shear=[x, y]))


@given(x=st.integers(-9, 9), y=st.integers(-9, 9))
def test_translation_is_torchvisions(x: int, y: int) -> None:
    image = photo()
    ours = move(image[None], translation(torch.tensor([[float(x), float(y)]])))[0]
    # which interpolates even here
    assert torch.allclose(ours, torchvisions(image, translate=[x, y]), atol=1e-2)


def test_all_together_are_torchvisions_affine() -> None:
    """torchvision's list: first sheared, then scaled, then turned, then moved; for us a product."""
    image = photo()
    matrix = (
        shearing(torch.tensor([[10.0, 5.0]]))
        @ scaling(torch.tensor([1.3]))
        @ rotation(torch.tensor([-20.0]))
        @ translation(torch.tensor([[3.0, -2.0]]))
    )
    same(
        shown(image, matrix),
        torchvisions(image, angle=20.0, translate=[3, -2], scale=1.3, shear=[10.0, 5.0]),
    )


def degrees_of(matrices: torch.Tensor) -> torch.Tensor:
    return torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()


DRAWS = {
    "rotate": (lambda n: degrees_of(Rotate(30).matrices(n, generator(1))), -30, 30),
    "scale, in its logarithm": (lambda n: -Scale(0.5, 2).matrices(n, generator(2))[:, 0, 0].log2(), -1, 1),
    "shear": (lambda n: Shear(20).matrices(n, generator(3))[:, 0, 1].atan().rad2deg(), -20, 20),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_uniform(name: str) -> None:
    draw, low, high = DRAWS[name]
    values = draw(5000).numpy()
    assert kstest(values, "uniform", (low, high - low)).pvalue > 1e-4


def test_translate_is_uniform_over_whole_pixels() -> None:
    shifts = -Translate(size=20, share=0.2).matrices(20_000, generator(4))[:, :2, 2]
    assert (shifts == shifts.round()).all()
    counts = torch.bincount((shifts.flatten() + 4).long(), minlength=9).float() / 40_000
    # round(uniform(-4, 4)): the ends have half of the others' share
    expected = torch.tensor([1 / 16] + [1 / 8] * 7 + [1 / 16])
    assert (counts - expected).abs().max() < 0.01


def test_vertical_flip_mirrors_the_other_axis() -> None:
    image = photo(6, 5)
    flipped = move(image[None], VerticalFlip(p=1.0).matrices(1, generator(0)))[0]
    assert flipped.equal(image.flip(0))


def test_flip_draws_its_share() -> None:
    draws = Flip(p=0.3).matrices(20_000, generator(0))[:, 0, 0]
    # 0.3 within four standard deviations of a binomial
    assert abs((draws == -1).float().mean() - 0.3) < 4 * (0.3 * 0.7 / 20_000) ** 0.5
    assert set(draws.tolist()) == {-1.0, 1.0}


def test_crop_draws_every_shift_alike() -> None:
    from scipy.stats import chisquare

    shifts = Crop(pad=2).matrices(25_000, generator(1))[:, :2, 2]
    cells = (shifts + 2).long() @ torch.tensor([5, 1])
    assert chisquare(torch.bincount(cells, minlength=25).numpy()).pvalue > 1e-4


def test_first_in_the_list_comes_first() -> None:
    class Shift:
        def matrices(self, n: int, generator: torch.Generator) -> torch.Tensor:
            return torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]]).repeat(n, 1, 1)

    row = torch.tensor([1, 2, 3]).view(1, 1, 3, 1)
    flipped_then_shifted = move(row, compose([Flip(p=1.0), Shift()], ROW, generator(0)))
    shifted_then_flipped = move(row, compose([Shift(), Flip(p=1.0)], ROW, generator(0)))
    assert flipped_then_shifted.flatten().tolist() == [2, 1, 0]
    assert shifted_then_flipped.flatten().tolist() == [0, 3, 2]
