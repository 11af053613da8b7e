from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from convsmith.data.augment import Augment
from convsmith.data.erasing import Erase, inside
from convsmith.data.mixing import Cutmix, Mixup
from convsmith.data.shuffle import generator


@given(box=st.tuples(*[st.integers(-3, 12)] * 4))
def test_inside_is_slicing(box: tuple[int, int, int, int]) -> None:
    left, upper, right, lower = box
    expected = torch.zeros(9, 8, dtype=torch.bool)
    expected[max(0, upper) : max(0, lower), max(0, left) : max(0, right)] = True
    assert inside(torch.tensor([box]).float(), 9, 8)[0].equal(expected)


def test_erased_rectangles_have_the_stated_sizes_and_the_mean_color() -> None:
    mean = torch.tensor([10.0, 20.0, 30.0])
    erase = Erase(mean, p=0.6, area=(0.1, 0.2), ratio=(0.5, 2.0))
    drawn = erase.draw(4000, generator(1))
    images = torch.full((4000, 3, 40, 40), 255.0)
    changed = erase.change(images, drawn)
    erased = (changed == mean.view(3, 1, 1)).all(1).flatten(1).sum(1)
    there = erased > 0
    assert abs(there.float().mean().item() - 0.6) < 4 * (0.24 / 4000) ** 0.5
    share = erased[there] / 1600
    assert share.min() > 0.08
    assert share.max() < 0.22, "whole pixels"
    assert kstest(share.numpy(), "uniform", (0.1, 0.1)).statistic < 0.06
    assert images.eq(255).all(), "what was given stays as it was"


def test_erasing_with_a_mean_image() -> None:
    mean = torch.arange(48.0).view(4, 4, 3)
    erase = Erase(mean, p=1.0, area=(1.0, 1.0), ratio=(1.0, 1.0))
    changed = erase.change(torch.zeros(1, 3, 4, 4), erase.draw(1, generator(0)))
    assert changed[0].permute(1, 2, 0).equal(mean)


def test_mixup_is_the_formula_and_its_lambda_a_beta() -> None:
    mixup = Mixup(alpha=0.5)
    drawn = mixup.draw(5000, generator(2))
    assert kstest(drawn.numpy(), "beta", (0.5, 0.5)).pvalue > 1e-4
    images, partners = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    mixed, share = mixup.mix(images, partners, drawn[:3])
    for row in range(3):
        expected = share[row] * images[row] + (1 - share[row]) * partners[row]
        assert torch.allclose(mixed[row], expected, atol=1e-6)
    assert (Mixup(p=0.25).draw(5000, generator(3)) == 1).float().mean().item() == pytest.approx(
        0.75, abs=0.03
    )


def test_cutmix_counts_the_pixels_that_are_left() -> None:
    cutmix = Cutmix(alpha=1.0, p=0.8)
    drawn = cutmix.draw(300, generator(4))
    mixed, share = cutmix.mix(torch.zeros(300, 1, 20, 20), torch.ones(300, 1, 20, 20), drawn)
    assert torch.allclose(share, 1 - mixed.mean((1, 2, 3)))
    central = drawn.clone()
    central[:, 1:] = 0.5
    _, share = cutmix.mix(torch.zeros(300, 1, 20, 20), torch.ones(300, 1, 20, 20), central)
    # not cut off at the border: lambda itself, but for whole pixels
    assert (share - drawn[:, 0]).abs().max() < 0.1
    assert (share[drawn[:, 0] == 1] == 1).all()


def test_targets_are_mixed_as_the_images_are() -> None:
    """Image i shows the number i: what a mixture shows tells what its target must be."""
    targets = torch.arange(6)
    images = targets.float().view(6, 1, 1, 1).expand(6, 1, 5, 5).contiguous()
    own = torch.arange(6)
    for mixing in (Mixup(alpha=1.0), Cutmix(p=1.0)):
        mixed, soft = Augment([mixing], 6).mixed(images, targets, 6, own, generator(5))
        assert soft.shape == (6, 6)
        assert torch.allclose(soft.sum(1), torch.ones(6))
        assert torch.allclose(soft @ torch.arange(6.0), mixed.mean((1, 2, 3)), atol=1e-5)
        numbers = targets.float()[:, None]
        mixed, found = Augment([mixing], 0).mixed(images, numbers, 6, own, generator(5))
        assert torch.allclose(found[:, 0], mixed.mean((1, 2, 3)), atol=1e-5)
