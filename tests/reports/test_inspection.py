from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convsmith.nn.extent import fields
from convsmith.nn.receptive_field import Field, Span
from convsmith.reports.inspection import heat, kernels, patch, tiles


def test_kernels_are_drawn_with_zero_in_the_middle_and_in_their_colors() -> None:
    weight = torch.zeros(2, 3, 2, 2)
    weight[0, 0, 0, 0] = 4.0  # red, top left
    weight[1, 2, 1, 1] = -2.0  # the opposite of blue, bottom right
    sheet = kernels(weight)
    assert sheet.shape == (4, 7, 3)
    assert sheet[1, 1].tolist() == [255, 128, 128]
    assert sheet[2, 5].tolist() == [128, 128, 1]
    assert sheet[1, 2].tolist() == [128, 128, 128]


def test_kernels_over_many_channels_show_the_strongest() -> None:
    weight = torch.zeros(1, 5, 3, 3)
    weight[0, 3, 1, 1] = 1.0
    assert kernels(weight)[2, 2].tolist() == [255, 255, 255]


def test_tiles_lie_row_by_row() -> None:
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = tiles(pictures, columns=2)
    assert [sheet[1, 1, 0], sheet[1, 4, 0], sheet[4, 1, 0], sheet[4, 4, 0]] == [10, 20, 30, 255]


def test_heat_runs_from_zero_to_the_largest() -> None:
    picture = heat(torch.tensor([[0.0, 1.0], [2.0, -5.0]])).astype(int)
    assert picture[1, 0].sum() > picture[0, 1].sum() > picture[0, 0].sum()
    assert picture[1, 1].tolist() == picture[0, 0].tolist(), "negative answers are no answers"


def test_a_patch_is_what_the_unit_sees() -> None:
    pixels = np.arange(100, dtype=np.uint8).reshape(10, 10, 1)
    field = Field((Span(2, -1, 1), Span(2, -1, 1)))
    assert patch(pixels, field, (2, 3)).shape == (3, 3, 1)
    assert patch(pixels, field, (2, 3))[1, 1, 0] == 46, "the middle is row 4, column 6"
    assert patch(pixels, field, (0, 0)).shape == (2, 2, 1), "cut at the border"
    assert patch(pixels, None, (0, 0)).shape == (10, 10, 1)
    assert patch(pixels, Field((Span(1, -50, 50), Span(1, -50, 50))), (0, 0)).shape == (10, 10, 1)


def test_changing_pixels_outside_the_patch_changes_nothing() -> None:
    """The patch of the report holds all that the unit depends on."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU())
    image = torch.rand(1, 20, 20)
    field = fields(net, ["3"], image)["3"]
    marks = patch(np.ones((20, 20, 1), np.uint8), field, (4, 5))
    assert marks.shape[0] == 7
    place = np.zeros((20, 20, 1), np.uint8)
    patch(place, field, (4, 5))[:] = 1
    other = torch.where(torch.from_numpy(place)[None, ..., 0] > 0, image, torch.rand(1, 20, 20))
    assert torch.allclose(net(other[None])[0, :, 4, 5], net(image[None])[0, :, 4, 5])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1)])
def test_layers_of_one_pixel_are_drawn_as_rows_of_inputs(shape: tuple[int, ...]) -> None:
    weight = torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.0, 0.25]]).reshape(shape)
    assert kernels(weight)[:, :, 0].tolist() == [[128, 255, 1], [255, 128, 191]]
