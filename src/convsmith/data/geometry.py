"""Augmentations of place: each is one 3x3 matrix an image, and all together are one matrix.

Coordinates are pixels from the image's center, (x, y, 1), y downwards; a matrix maps an output pixel to the
input pixel it shows, so that the list ``[a, b]`` (first a, then b) composes to ``A @ B``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from convsmith.catalog import technique

EYE = torch.eye(3)


class Geometry(Protocol):
    """An augmentation of place.

    An augmentation that depends on the image takes ``rows`` (n,), rows of the store, as a third argument.
    """

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw one matrix for each of ``n`` images, (n, 3, 3) float32 on the CPU."""


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """n draws between two numbers, (n,)."""
    return low + (high - low) * torch.rand(n, generator=generator)


def eyes(n: int) -> Tensor:
    """Make n identity matrices."""
    return EYE.expand(n, 3, 3).clone()


def scaling(factors: Tensor) -> Tensor:
    """Enlarge by each factor around the center, (n,) to (n, 3, 3).

    >>> scaling(torch.tensor([2.0]))[0].diag()
    tensor([0.5000, 0.5000, 1.0000])
    """
    matrices = eyes(len(factors))
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1 / factors
    return matrices


def rotation(degrees: Tensor) -> Tensor:
    """Turn counterclockwise, as seen, around the center; (n,) to (n, 3, 3).

    >>> rotation(torch.tensor([90.0]))[0].round().int().tolist()
    [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    """
    matrices = eyes(len(degrees))
    angle = degrees.double().deg2rad()
    matrices[:, 0, 0] = matrices[:, 1, 1] = angle.cos().float()
    matrices[:, 1, 0] = angle.sin().float()
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


def translation(pixels: Tensor) -> Tensor:
    """Move to the right and down by (x, y) pixels; (n, 2) to (n, 3, 3).

    >>> translation(torch.tensor([[3.0, 0.0]]))[0, 0].tolist()
    [1.0, 0.0, -3.0]
    """
    matrices = eyes(len(pixels))
    matrices[:, :2, 2] = -pixels
    return matrices


def shearing(degrees: Tensor) -> Tensor:
    """Slant along x and along y by the angles (x, y), as torchvision's affine does; (n, 2) to (n, 3, 3).

    >>> shearing(torch.tensor([[45.0, 0.0]]))[0, 0].round().tolist()
    [1.0, 1.0, 0.0]
    """
    matrices = eyes(len(degrees))
    tangents = degrees.double().deg2rad().tan().float()
    matrices[:, 0, 0] = 1 + tangents[:, 0] * tangents[:, 1]
    matrices[:, 0, 1] = tangents[:, 0]
    matrices[:, 1, 0] = tangents[:, 1]
    return matrices


@technique(
    "augmentation",
    "flip",
    source="Simonyan & Zisserman 2015",
    chapter="5 数据扩充 augmentation",
    use="left and right mean the same",
)
class Flip:
    """Mirror left and right with probability ``p``.

    Args:
        p: probability in [0, 1].

    >>> Flip(p=1.0).matrices(1, torch.Generator())[0].diag()
    tensor([-1.,  1.,  1.])
    """

    axis = 0

    def __init__(self, p: Annotated[float, Ge(0), Le(1)] = 0.5) -> None:
        self.p = p

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        matrices = eyes(n)
        matrices[:, self.axis, self.axis] = 1 - 2 * (torch.rand(n, generator=generator) < self.p).float()
        return matrices


@technique(
    "augmentation",
    "vertical_flip",
    source="torchvision's RandomVerticalFlip",
    chapter="5 数据扩充 augmentation",
    use="up and down mean the same too: from above, through a microscope",
)
class VerticalFlip(Flip):
    """Mirror top and bottom with probability ``p``.

    Args:
        p: probability in [0, 1].

    >>> VerticalFlip(p=1.0).matrices(1, torch.Generator())[0].diag()
    tensor([ 1., -1.,  1.])
    """

    axis = 1

    def __init__(self, p: Annotated[float, Ge(0), Le(1)] = 0.5) -> None:
        super().__init__(p)


@technique(
    "augmentation",
    "crop",
    source="Krizhevsky et al. 2012; He et al. 2016, section 4.2",
    chapter="5 数据扩充 augmentation",
    use="objects aren't always in the same place",
)
class Crop:
    """Pad all sides with ``pad`` black pixels and cut the original size out at a random place.

    Args:
        pad: pixels; each shift from -pad to pad is as likely as any other, in x and y apart.

    >>> Crop(pad=0).matrices(1, torch.Generator())[0].equal(torch.eye(3))
    True
    """

    def __init__(self, pad: Annotated[int, Ge(0)] = 4) -> None:
        self.pad = pad

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        return translation(torch.randint(-self.pad, self.pad + 1, (n, 2), generator=generator).float())


@technique(
    "augmentation",
    "scale",
    source="the notes, chapter 5; torchvision's RandomAffine",
    chapter="5 数据扩充 augmentation",
    use="objects come in several sizes",
)
class Scale:
    """Enlarge by a factor between ``low`` and ``high`` around the center; what lies outside is black.

    The factor is uniform in its logarithm: half as large is as likely as twice as large.

    Args:
        low, high: > 0.

    >>> Scale(low=2, high=2).matrices(1, torch.Generator())[0, 0, 0].item()
    0.5
    """

    def __init__(self, low: Annotated[float, Gt(0)] = 0.8, high: Annotated[float, Gt(0)] = 1.25) -> None:
        self.low = low
        self.high = high

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        low, high = torch.tensor([self.low, self.high]).log().tolist()
        return scaling(uniform(n, low, high, generator).exp())


@technique(
    "augmentation",
    "rotate",
    source="the notes, chapter 5; Simard et al. 2003",
    chapter="5 数据扩充 augmentation",
    use="objects, or the camera, are turned",
)
class Rotate:
    """Turn around the center by an angle between -degrees and degrees; corners outside are black.

    Args:
        degrees: in [0, 180].

    >>> Rotate(degrees=0).matrices(1, torch.Generator())[0].equal(torch.eye(3))
    True
    """

    def __init__(self, degrees: Annotated[float, Ge(0), Le(180)] = 15.0) -> None:
        self.degrees = degrees

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        return rotation(uniform(n, -self.degrees, self.degrees, generator))


@technique(
    "augmentation",
    "translate",
    source="Simard et al. 2003; torchvision's RandomAffine",
    chapter="5 数据扩充 augmentation",
    use="as crop, as a share of the side",
)
class Translate:
    """Move by up to ``share`` of the side, in x and y apart, by whole pixels; what comes in is black.

    Args:
        size: side of the images in pixels.
        share: in [0, 1].

    >>> Translate(size=10, share=0.0).matrices(1, torch.Generator())[0].equal(torch.eye(3))
    True
    """

    def __init__(self, size: int, share: Annotated[float, Ge(0), Le(1)] = 0.1) -> None:
        self.most = share * size

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        draws = uniform(2 * n, -self.most, self.most, generator)
        return translation(draws.round().view(n, 2))


@technique(
    "augmentation",
    "shear",
    source="Simard et al. 2003; torchvision's RandomAffine",
    chapter="5 数据扩充 augmentation",
    use="handwriting, and things seen from aside",
)
class Shear:
    """Slant along x and along y, each by an angle between -degrees and degrees.

    Args:
        degrees: in [0, 45).

    >>> Shear(degrees=0).matrices(1, torch.Generator())[0].equal(torch.eye(3))
    True
    """

    def __init__(self, degrees: Annotated[float, Ge(0), Lt(45)] = 10.0) -> None:
        self.degrees = degrees

    def matrices(self, n: int, generator: torch.Generator) -> Tensor:
        return shearing(uniform(2 * n, -self.degrees, self.degrees, generator).view(n, 2))


@functools.cache
def _reads_rows(kind: type[Geometry]) -> bool:
    return "rows" in inspect.signature(kind.matrices).parameters


def compose(augmentations: Sequence[Geometry], rows: Tensor, generator: torch.Generator) -> Tensor:
    """Draw and multiply the matrices of a list for the images at ``rows`` (n,) of the store; (n, 3, 3)."""
    total = eyes(len(rows))
    for augmentation in augmentations:
        which = {"rows": rows} if _reads_rows(type(augmentation)) else {}
        total = total @ augmentation.matrices(len(rows), generator, **which)
    return total
