from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from convsmith import catalog
from convsmith.data.bells import around_mean
from convsmith.data.encodings import Angle, CircularBins, GaussianBins, Numbers, Votes, around
from convsmith.errors import UserError


def test_numbers_are_standardized_by_the_training_targets() -> None:
    values = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]], dtype=torch.double)
    encoding = Numbers(["a", "b"])
    encoding.fit(values)
    target = encoding.encode(values)
    np.testing.assert_allclose(
        target[:, 0].numpy(), (values[:, 0] - 3) / values[:, 0].numpy().std(), rtol=1e-6
    )
    assert target[:, 1].tolist() == [0, 0, 0], "a constant target has no spread to divide by"


def test_angles_on_both_sides_of_zero_are_neighbors() -> None:
    encoding = Angle(["a"], period=24.0)
    p = encoding.encode(torch.tensor([[23.9], [0.1], [12.0]]))
    assert (p[0] - p[1]).norm() < 0.06
    assert (p[0] - p[2]).norm() > 1.9
    assert encoding.error(torch.tensor([23.5]), torch.tensor([0.5])).item() == pytest.approx(-1)


def test_around_is_the_short_way() -> None:
    for difference in np.linspace(-900, 900, 61):
        short = around(torch.tensor(difference), 360).item()
        assert -180 <= short < 180
        assert math.cos(math.radians(short)) == pytest.approx(math.cos(math.radians(difference)), abs=1e-6)


def test_gaussian_bins_are_the_density() -> None:
    encoding = GaussianBins(["age"], bins=81, std=3.0, low=0.0, high=80.0)
    p = encoding.encode(torch.tensor([[33.3]]))[0].double().numpy()
    centers = np.arange(81)
    density = np.exp(-0.5 * ((33.3 - centers) / 3) ** 2)
    np.testing.assert_allclose(p, density / density.sum(), atol=1e-6)
    assert encoding.outputs[:3] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bins": 101, "std": 2.0, "low": 0.0, "high": 100.0},
        {"std": 30.0, "low": 0.0, "high": 100.0},
        {"std": 0.2},
        {"bins": 3},
        {"low": 0.0},
    ],
)
def test_a_gaussian_decodes_to_the_truth_from_end_to_end(options: dict[str, Any]) -> None:
    encoding = GaussianBins(["age"], **options)
    encoding.fit(torch.tensor([[0.0], [100.0]]))
    values = torch.cat([torch.linspace(0, 100, 301), torch.tensor([1e-4, 99.9999])])[:, None].double()
    p = encoding.encode(values)
    assert (encoding.decode(p.double().log()) - values).abs().max() < 1e-3
    assert torch.allclose(p.sum(1), torch.ones(len(p)), atol=1e-5)


def test_values_somewhat_beyond_the_training_range_have_a_place() -> None:
    encoding = GaussianBins(["age"])
    encoding.fit(torch.tensor([[10.0], [60.0]]))
    beyond = torch.tensor([[2.0], [68.0], [-500.0], [500.0]])
    found = encoding.decode(encoding.encode(beyond).double().log()).flatten().tolist()
    assert found[:2] == pytest.approx([2.0, 68.0], abs=1e-3)
    assert found[2:] == pytest.approx([encoding.low, encoding.high]), "far beyond: the end"
    # 6 bins on either side, and the Gaussian of the least value lies whole within them
    assert (10 - encoding.low) / (encoding.centers[0][1] - encoding.centers[0][0]) == pytest.approx(6)  # type: ignore[operator]
    p = encoding.encode(torch.tensor([[10.0]]))[0]
    assert p.argmax() == 6
    assert torch.allclose(p[:6], p[7:13].flip(0), atol=1e-4)


def test_a_bell_is_cut_off_on_one_side_only_at_a_given_end() -> None:
    """It stays a Gaussian of the same width: log-ratios of neighbors fall by (spacing / std)^2."""
    p = around_mean(torch.tensor([[0.3]], dtype=torch.double), torch.arange(11.0), 2.0)[0]
    assert (p * torch.arange(11)).sum().item() == pytest.approx(0.3, abs=1e-9)
    steps = (p[1:] / p[:-1]).log()
    assert torch.allclose(steps.diff(), torch.full((9,), -0.25, dtype=torch.double))


def test_circular_bins_wrap_and_tie_at_the_seam() -> None:
    encoding = CircularBins(["a"], bins=8, std=40.0)
    p = encoding.encode(torch.tensor([[0.0]]))[0]
    assert p.argmax() == 0
    assert torch.allclose(p[1:], p[1:].flip(0), atol=1e-6), "alike on both sides of 0"
    assert encoding.outputs == ["0", "45", "90", "135", "180", "225", "270", "315"]


def test_mistakes() -> None:
    with pytest.raises(UserError, match="low has 3 values; there are 2 targets"):
        catalog.build("target", {"gaussian": {"low": [1.0, 2.0, 3.0]}}, columns=["a", "b"])
    with pytest.raises(UserError, match="the training targets are 1 to 2, which leaves nothing between"):
        GaussianBins(["a"], low=5.0).fit(torch.tensor([[1.0], [2.0]]))
    with pytest.raises(UserError, match="low=5.0 must be below high=1.0"):
        GaussianBins(["a"], low=5.0, high=1.0)
    with pytest.raises(UserError, match="all training targets are 3.0; nothing to learn"):
        GaussianBins(["a"]).fit(torch.full((4, 1), 3.0))
    with pytest.raises(UserError, match="at least two"):
        Votes(["a"])
    with pytest.raises(UserError, match="a vote is negative"):
        Votes(["a", "b"]).fit(torch.tensor([[1.0, -1.0]]))
    with pytest.raises(UserError, match="image 2 has no vote at all"):
        Votes(["a", "b"]).encode(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
