from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from convsmith.data.augment import Augment
from convsmith.data.batches import normalize
from convsmith.data.color import Brightness, Contrast, Saturation
from convsmith.data.geometry import Rotate
from convsmith.data.hsv import Hsv
from convsmith.data.shuffle import generator
from convsmith.nn.normalizer import Normalizer

finish = partial(normalize, Normalizer(torch.zeros(3), torch.ones(3)))


class Fixed:
    """Another augmentation of color, with a number given instead of drawn."""

    def __init__(self, other: Brightness | Contrast | Saturation, factor: float) -> None:
        self.other, self.factor = other, factor
        self.needs_mean = getattr(other, "needs_mean", False)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.full((n,), self.factor)

    def colors(self, drawn: Tensor, mean: Tensor) -> Tensor:
        return self.other.colors(drawn, mean)


class Hue:
    """HSV's hue alone, by a third of a turn."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.tensor([[1 / 3, 1.0, 1.0]]).repeat(n, 1)

    def change(self, images: Tensor, drawn: Tensor) -> Tensor:
        return Hsv().change(images, drawn)


def photos(n: int, side: int) -> Tensor:
    """Middle values, which none of the factors below brings to be clipped."""
    draws = torch.Generator().manual_seed(0)
    return torch.randint(90, 160, (n, side, side, 3), generator=draws, dtype=torch.uint8)


def seen(augment: Augment, pixels: Tensor) -> Tensor:
    rows = torch.arange(len(pixels))
    return augment(pixels, rows, rows, generator(3), finish)


def test_a_list_of_colors_is_torchvisions_one_after_the_other() -> None:
    """Contrast comes second and fifth: the mean it turns about is that of the image as it is by then."""
    pixels = photos(3, 12)
    steps = [
        (Fixed(Brightness(), 1.2), lambda x: tv.adjust_brightness(x, 1.2)),
        (Fixed(Contrast(), 0.6), lambda x: tv.adjust_contrast(x, 0.6)),
        (Fixed(Saturation(), 1.3), lambda x: tv.adjust_saturation(x, 1.3)),
        (Hue(), lambda x: tv.adjust_hue(x, 1 / 3)),
        (Fixed(Brightness(), 0.8), lambda x: tv.adjust_brightness(x, 0.8)),
        (Fixed(Contrast(), 1.4), lambda x: tv.adjust_contrast(x, 1.4)),
    ]
    expected = pixels.permute(0, 3, 1, 2).float() / 255
    for _, theirs in steps:
        expected = theirs(expected)
    found = seen(Augment([own for own, _ in steps]), pixels)
    assert torch.allclose(found, expected * 255, atol=0.3)
    assert found.is_contiguous(memory_format=torch.channels_last) or found.is_contiguous()


def test_a_large_batch_is_made_in_parts_as_if_it_were_one() -> None:
    """Seven images of 224 pixels are more than a cacheful."""
    pixels = photos(7, 224)
    augment = Augment([Rotate(30), Fixed(Contrast(), 0.5)])
    together = seen(augment, pixels)
    rows = torch.arange(7)
    for row in range(7):
        alone = augment(pixels[row : row + 1], rows, rows[row : row + 1], generator(3), finish)
        assert torch.allclose(together[row], alone[0], atol=1e-3)
