"""Augmentations of color: each is one 4x4 matrix an image, and all together are one matrix.

A matrix acts on (red, green, blue, 1) with values in [0, 1], and the list ``[a, b]`` composes to ``B @ A``.
Values are clipped once, after the whole product. Grey images count as equal parts of the three.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Le
from torch import Tensor

from convsmith.catalog import technique
from convsmith.data.geometry import uniform

# ITU-R BT.601, as in torchvision and Pillow
LUMA = (0.299, 0.587, 0.114)
# Red, green, blue to luminance and two axes of color (YIQ).
TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
FROM_YIQ = torch.linalg.inv(TO_YIQ)
Amount = Annotated[float, Ge(0), Le(1)]


class Color(Protocol):
    """An augmentation of color, linear in the values."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the random numbers for n images, (n, ...) on the CPU."""

    def colors(self, drawn: Tensor, mean: Tensor) -> Tensor:
        """The matrices (n, 4, 4) of what was drawn for n images with mean colors (n, 3) at this point."""


def blended(factors: Tensor, other: Tensor) -> Tensor:
    """factor * image + (1 - factor) * other, other a linear map (4, 4) or (n, 4, 4); (n,) to (n, 4, 4)."""
    shares = factors[:, None, None]
    eye = torch.eye(4, device=factors.device)
    matrices = shares * eye + (1 - shares) * other
    matrices[:, 3] = eye[3]
    return matrices


def luma_matrix(device: torch.device) -> Tensor:
    """Every channel becomes the luminance, (4, 4)."""
    matrix = torch.zeros(4, 4, device=device)
    matrix[:3, :3] = torch.tensor(LUMA, device=device)
    return matrix


def hue_matrix(turns: Tensor) -> Tensor:
    """Turn colors around the grey axis in YIQ space, luminance kept; (n,) whole turns to (n, 4, 4)."""
    angle = turns * (2 * torch.pi)
    turn = torch.eye(3, device=turns.device).expand(len(turns), 3, 3).clone()
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    matrices = torch.eye(4, device=turns.device).expand(len(turns), 4, 4).clone()
    matrices[:, :3, :3] = FROM_YIQ.to(turns.device) @ turn @ TO_YIQ.to(turns.device)
    return matrices


class _Factor:
    """A factor between 1 - amount and 1 + amount."""

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return uniform(n, 1 - self.amount, 1 + self.amount, generator)


@technique(
    "augmentation",
    "brightness",
    source="Howard 2013, Some improvements on deep convolutional neural network based image classification",
    chapter="5 数据扩充 augmentation",
    use="light differs",
)
class Brightness(_Factor):
    """All values times a factor between 1 - amount and 1 + amount.

    Args:
        amount: in [0, 1].

    >>> Brightness().colors(torch.tensor([0.5]), torch.zeros(1, 3))[0].diag()
    tensor([0.5000, 0.5000, 0.5000, 1.0000])
    """

    def __init__(self, amount: Amount = 0.4) -> None:
        super().__init__(amount)

    def colors(self, drawn: Tensor, mean: Tensor) -> Tensor:
        return blended(drawn, torch.zeros(4, 4, device=drawn.device))


@technique(
    "augmentation",
    "contrast",
    source="Howard 2013",
    chapter="5 数据扩充 augmentation",
    use="light and haze differ",
)
class Contrast(_Factor):
    """Distances from the image's mean luminance times a factor between 1 - amount and 1 + amount.

    Args:
        amount: in [0, 1].

    >>> Contrast().colors(torch.tensor([0.5]), torch.full((1, 3), 0.4))[0, 0]
    tensor([0.5000, 0.0000, 0.0000, 0.2000])
    """

    needs_mean = True

    def __init__(self, amount: Amount = 0.4) -> None:
        super().__init__(amount)

    def colors(self, drawn: Tensor, mean: Tensor) -> Tensor:
        flat = torch.zeros(len(drawn), 4, 4, device=drawn.device)
        flat[:, :3, 3] = (mean @ torch.tensor(LUMA, device=drawn.device))[:, None]
        return blended(drawn, flat)


@technique(
    "augmentation",
    "saturation",
    source="Howard 2013",
    chapter="5 数据扩充 augmentation",
    use="cameras and weather differ; in RGB, by distance from grey",
)
class Saturation(_Factor):
    """Distances from each pixel's own grey times a factor between 1 - amount and 1 + amount.

    Args:
        amount: in [0, 1].

    >>> Saturation().colors(torch.tensor([0.0]), torch.zeros(1, 3))[0, 0]
    tensor([0.2990, 0.5870, 0.1140, 0.0000])
    """

    def __init__(self, amount: Amount = 0.4) -> None:
        super().__init__(amount)

    def colors(self, drawn: Tensor, mean: Tensor) -> Tensor:
        return blended(drawn, luma_matrix(drawn.device))


@technique(
    "augmentation",
    "hue",
    source="Haeberli 1993, Matrix operations for image processing; hue in HSV: see hsv",
    chapter="5 数据扩充 augmentation",
    use="the color of light differs; keeps luminance, unlike a turn in HSV",
)
class Hue:
    """Colors turned around the grey axis by up to ``amount`` of a whole turn, either way.

    Args:
        amount: in [0, 0.5].

    >>> Hue().colors(torch.tensor([1.0]), torch.zeros(1, 3))[0].allclose(torch.eye(4), atol=1e-5)
    True
    """

    def __init__(self, amount: Annotated[float, Ge(0), Le(0.5)] = 0.05) -> None:
        self.amount = amount

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return uniform(n, -self.amount, self.amount, generator)

    def colors(self, drawn: Tensor, mean: Tensor) -> Tensor:
        return hue_matrix(drawn)


def recolor(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply color matrices and clip; images (N, C, H, W) float in [0, 255], matrices (N, 4, 4).

    >>> recolor(torch.full((1, 1, 1, 2), 200.0), 2 * torch.eye(4)[None]).flatten()
    tensor([255., 255.])
    """
    n, channels = images.shape[:2]
    if channels == 1:
        # Red, green and blue alike stay alike under all of these.
        matrices = torch.stack([matrices[:, 0, :3].sum(1), matrices[:, 0, 3]], 1)[:, None]
    linear, constant = matrices[:, :channels, :channels], matrices[:, :channels, -1:] * 255
    flat = torch.baddbmm(constant, linear, images.reshape(n, channels, -1))
    return flat.clamp_(0, 255).view(images.shape)
