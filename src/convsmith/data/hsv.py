"""Jitter of hue, saturation and value in HSV space: not linear in the colors, so without a matrix."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from convsmith.catalog import technique
from convsmith.data.geometry import uniform


def shift_hsv(images: Tensor, hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Hue plus whole turns, saturation and value times factors, clipped; (N, 3, H, W) in [0, 255].

    Args:
        images: float.
        hue, saturation, value: (N,).

    >>> red = torch.tensor([255.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> shift_hsv(red, torch.tensor([1 / 3]), torch.ones(1), torch.ones(1)).flatten().round()
    tensor([  0., 255.,   0.])
    """
    red, green, blue = images.unbind(1)
    top = images.amax(1)
    chroma = top - images.amin(1)
    safe = chroma.clamp_min(1e-6)
    # in sixths of a turn
    of_blue = (red - green) / safe + 4
    of_green = torch.where(top == green, (blue - red) / safe + 2, of_blue)
    place = torch.where(top == red, (green - blue) / safe, of_green)
    place = place + 6 * hue[:, None, None]
    brightest = (top * value[:, None, None]).clamp(0, 255)
    share = (chroma / top.clamp_min(1e-6) * saturation[:, None, None]).clamp(0, 1)
    result = torch.empty_like(images)
    for channel, offset in enumerate((5, 3, 1)):
        turned = (place + offset).remainder(6)
        dip = torch.minimum(turned, 4 - turned).clamp(0, 1)
        result[:, channel] = brightest * (1 - share * dip)
    return result


@technique(
    "augmentation",
    "hsv",
    source="the notes, chapter 5; Smith 1978, Color gamut transform pairs",
    chapter="5 数据扩充 augmentation",
    use="hue, saturation and value as people name them; dearer than the linear ones",
)
class Hsv:
    """Hue shifted by up to ``hue`` of a turn, saturation and value times 1 - amount to 1 + amount.

    Args:
        hue: in [0, 0.5].
        saturation, value: in [0, 1].

    >>> Hsv(0.0, 0.0, 0.0).draw(1, torch.Generator())
    tensor([[0., 1., 1.]])
    """

    def __init__(
        self,
        hue: Annotated[float, Ge(0), Le(0.5)] = 0.02,
        saturation: Annotated[float, Ge(0), Le(1)] = 0.4,
        value: Annotated[float, Ge(0), Le(1)] = 0.4,
    ) -> None:
        self.hue = hue
        self.saturation = saturation
        self.value = value

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.stack(
            [
                uniform(n, -self.hue, self.hue, generator),
                uniform(n, 1 - self.saturation, 1 + self.saturation, generator),
                uniform(n, 1 - self.value, 1 + self.value, generator),
            ],
            1,
        )

    def change(self, images: Tensor, drawn: Tensor) -> Tensor:
        hue, saturation, value = drawn.unbind(1)
        if images.shape[1] == 1:
            return (images * value[:, None, None, None]).clamp(0, 255)
        return shift_hsv(images, hue, saturation, value)
