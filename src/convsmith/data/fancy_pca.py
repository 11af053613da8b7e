"""Fancy PCA: shift colors along the axes in which the training set's colors vary."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from convsmith.catalog import technique


@technique(
    "augmentation",
    "fancy_pca",
    source="Krizhevsky et al. 2012, ImageNet classification with deep convolutional networks, section 4.1",
    chapter="5 数据扩充 augmentation",
    use="what an object is doesn't change with the light's intensity and color",
)
class FancyPca:
    """Add p1 a1 l1 + p2 a2 l2 + p3 a3 l3 to every pixel of an image, a_i ~ N(0, std), drawn once an image.

    p_i and l_i are the eigenvectors and eigenvalues of the covariance of the training images' red, green
    and blue in [0, 1]. (In [0, 255] the same formula would shift by hundreds.)

    Args:
        covariance: (3, 3).
        std: of a_i, >= 0.

    >>> FancyPca(torch.diag(torch.tensor([0.01, 0.02, 0.05]))).values
    tensor([0.0100, 0.0200, 0.0500])
    """

    def __init__(self, covariance: Tensor, std: Annotated[float, Ge(0)] = 0.1) -> None:
        self.std = std
        values, vectors = torch.linalg.eigh(covariance.double())
        self.values, self.vectors = values.clamp_min(0).float(), vectors.float()

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 3, generator=generator) * self.std

    def colors(self, drawn: Tensor, mean: Tensor) -> Tensor:
        matrices = torch.eye(4, device=drawn.device).expand(len(drawn), 4, 4).clone()
        matrices[:, :3, 3] = (drawn * self.values.to(drawn.device)) @ self.vectors.T.to(drawn.device)
        return matrices
