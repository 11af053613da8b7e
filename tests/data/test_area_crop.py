from __future__ import annotations

import torch
from scipy.stats import ks_2samp
from torchvision.transforms.v2 import RandomResizedCrop

from convsmith.data.area_crop import AreaCrop, boxes
from convsmith.data.resample import _ways
from convsmith.data.shuffle import generator


def test_boxes_are_drawn_as_torchvision_draws_them() -> None:
    """Areas, aspects and corners of 3,000 boxes of each, by the Kolmogorov-Smirnov test."""
    size, scale, ratio = 96, (0.2, 0.9), (0.5, 2.0)
    crop = AreaCrop(size, scale, ratio)
    matrices = crop.matrices(3000, generator(7))
    widths, heights = matrices[:, 0, 0] * size, matrices[:, 1, 1] * size
    left = matrices[:, 0, 2] + size / 2 - widths / 2
    torch.manual_seed(0)
    transform = RandomResizedCrop(size, scale, ratio)
    image = torch.zeros(3, size, size)
    theirs = [transform.make_params([image]) for _ in range(3000)]
    for ours, name in ((widths, "width"), (heights, "height"), (left, "left")):
        assert ks_2samp(ours.numpy(), [own[name] for own in theirs]).pvalue > 1e-4
    ways = _ways(matrices, (size, size), (size, size), boxes=True)
    assert (ways < 2).all(), "all whole pixels within the image"


def test_what_never_fits_is_the_whole_image() -> None:
    assert boxes(5, 10, (1.0, 1.0), (3.0, 4.0), generator(0)).tolist() == [[10, 10]] * 5
