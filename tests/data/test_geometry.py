from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsmith.data.geometry import Crop, Flip, compose, move
from convsmith.data.shuffle import generator


def pictures(n: int, height: int, width: int, channels: int = 2) -> torch.Tensor:
    return torch.arange(1, n * height * width * channels + 1).view(n, height, width, channels)


@given(
    flip=st.booleans(),
    dx=st.integers(-5, 5),
    dy=st.integers(-5, 5),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
)
def test_mirror_and_shift_equal_slicing(flip: bool, dx: int, dy: int, height: int, width: int) -> None:
    """First mirrored, then padded by 5 and cut out: what numpy does by slices."""
    image = pictures(1, height, width)
    matrix = torch.diag(torch.tensor([-1.0 if flip else 1.0, 1.0, 1.0])) @ torch.tensor(
        [[1.0, 0, dx], [0, 1, dy], [0, 0, 1]]
    )
    padded = np.pad(image[0].numpy()[:, :: -1 if flip else 1], ((5, 5), (5, 5), (0, 0)))
    expected = padded[5 + dy : 5 + dy + height, 5 + dx : 5 + dx + width]
    assert (move(image, matrix[None])[0].numpy() == expected).all()


def test_each_image_has_its_own_matrix() -> None:
    images = pictures(3, 4, 5)
    matrices = torch.eye(3).repeat(3, 1, 1)
    matrices[1, 0, 0] = -1
    matrices[2, 1, 2] = 4  # all outside
    moved = move(images, matrices)
    assert moved[0].equal(images[0])
    assert moved[1].equal(images[1].flip(1))
    assert not moved[2].any()


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
    flipped_then_shifted = move(row, compose([Flip(p=1.0), Shift()], 1, generator(0)))
    shifted_then_flipped = move(row, compose([Shift(), Flip(p=1.0)], 1, generator(0)))
    assert flipped_then_shifted.flatten().tolist() == [2, 1, 0]
    assert shifted_then_flipped.flatten().tolist() == [0, 3, 2]
