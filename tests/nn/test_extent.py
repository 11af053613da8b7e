from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convsmith.nn.extent import cells, fields, share_above_half
from convsmith.nn.receptive_field import Span
from convsmith.nn.responses import watch


@pytest.mark.parametrize(
    ("span", "places"), [(Span(2, -1, 1), 10), (Span(4, 0, 6), 4), (Span(1, 0, 8), 12), (Span(4, -9, 9), 5)]
)
def test_cells_are_the_pixels_nearest_to_each_center(span: Span, places: int) -> None:
    side, fine = 20, 100
    points = (np.arange(side * fine) + 0.5) / fine
    centers = np.arange(places) * span.stride + (span.low + span.high + 1) / 2
    nearest = np.abs(points[:, None] - centers).argmin(1)
    expected = np.bincount(nearest, minlength=places) / len(points)
    found = cells(span, places, side)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, expected, atol=2 / len(points))


def test_shares_by_hand() -> None:
    maps = torch.zeros(1, 4, 3, 4)
    maps[0, 0, 1, :2] = torch.tensor([4.0, 3.0])
    maps[0, 0, 2, 2] = 2.0  # half, not more than half
    maps[0, 1] = 7.0
    maps[0, 2] = -1.0
    rows, columns = torch.tensor([0.5, 0.2, 0.3]), torch.tensor([0.4, 0.1, 0.25, 0.25])
    found = share_above_half(maps, rows, columns)[0]
    assert found[:2].tolist() == pytest.approx([0.2 * 0.5, 1.0])
    assert found[2:].isnan().all(), "nothing above zero is no place"


def test_a_unit_responds_to_as_much_of_the_image_as_the_bright_square_has() -> None:
    """Without padding the outermost centers lie inside of the image, and stand for the pixels beyond."""
    net = nn.Sequential(nn.Conv2d(1, 1, 4, stride=4, bias=False), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU())
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[2].weight.fill_(1.0)
        net[2].bias.fill_(0.0)
    images = torch.zeros(4, 1, 34, 34)
    images[0, :, :8, :16] = 1.0
    images[1, :, 16:, 16:] = 0.5
    own = watch(net, ["3"], iter(images.split(3)), top=2)["3"]
    assert fields(net, ["3"], images[0])["3"].spans[0] == Span(4, 0, 3)
    # The second is the 18 right and lower pixels, of which the map has centers for 16.
    assert own.shares[0].tolist() == pytest.approx([8 * 16 / 34**2, 18 * 18 / 34**2])
    assert own.image_share is not None
    assert own.image_share.tolist() == pytest.approx([(8 * 16 + 18 * 18) / 2 / 34**2])


def test_vectors_have_no_place() -> None:
    own = watch(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), ["1"], iter([torch.rand(4, 3)]))["1"]
    assert own.image_share is None
