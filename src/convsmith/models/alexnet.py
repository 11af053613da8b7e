"""AlexNet: five convolutions in two branches, local response normalization, three fully connected layers."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import Classifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Dropout, Initialization, Neck, Norm, Pooling

Size = Annotated[int, Ge(1)]
SMALLEST = 63
# Channels of the two-GPU net, and of the net for a single GPU (Krizhevsky 2014), which is torchvision's.
WIDTHS = {2: (96, 256, 384, 384, 256), 1: (64, 192, 384, 256, 256)}


class AlexNet(Classifier):
    """Five convolutions, three of which are pooled, and two hidden layers of 4096 units."""

    def __init__(self, branches: int, num_classes: int, in_channels: int, size: int, parts: Parts) -> None:
        super().__init__(4096, parts)
        a, b, c, d, e = WIDTHS[branches]
        # The second, fourth and fifth convolution see only their own branch.
        self.features = nn.Sequential(
            *parts.unit(nn.Conv2d(in_channels, a, 11, 4, 2), a, respond=True),
            parts.pool(a, 3, 2),
            *parts.unit(nn.Conv2d(a, b, 5, 1, 2, groups=branches), b, respond=True),
            parts.pool(b, 3, 2),
            *parts.unit(nn.Conv2d(b, c, 3, 1, 1), c),
            *parts.unit(nn.Conv2d(c, d, 3, 1, 1, groups=branches), d),
            *parts.unit(nn.Conv2d(d, e, 3, 1, 1, groups=branches), e),
            parts.pool(e, 3, 2),
        )
        side = (size - 7) // 4 + 1
        for _ in range(3):
            side = (side - 3) // 2 + 1
        self.classifier = nn.Sequential(
            parts.drop(),
            nn.Linear(e * side * side, 4096),
            parts.act(4096),
            parts.drop(),
            nn.Linear(4096, 4096),
            parts.act(4096),
        )
        self.drop = nn.Identity()  # the paper drops before the first two layers, not before the last
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps

    def pool(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.classifier(x.contiguous().flatten(1))
        return hidden


@technique(
    "model",
    "alexnet",
    source="Krizhevsky et al. 2012 (60,965,224 parameters at 3x224x224); one branch: Krizhevsky 2014",
    chapter="3 经典结构 architectures",
    use="to compare with history; most of its weights are in the first fully connected layer",
)
def alexnet(
    num_classes: Size = 1000,
    in_channels: Size = 3,
    size: Size = 224,
    branches: Literal[1, 2] = 2,
    activation: Activation = "relu",
    norm: Norm = "local_response",
    pooling: Pooling = "max",
    dropout: Dropout = "inverted",
    neck: Neck = "none",
    init: Initialization = "by_activation",
) -> AlexNet:
    """AlexNet: input (N, in_channels, size, size), size >= 63, output logits (N, num_classes).

    Args:
        num_classes: K.
        in_channels: C.
        size: of the images; the first fully connected layer fits it.
        branches: 2 as in the paper, whose second, fourth and fifth convolutions are grouped in two; 1 is
            the narrower net for a single GPU, torchvision's with ``norm="none"``.
        activation, norm, pooling, dropout, neck, init: by name.

    Raises:
        UserError: if the images are too small.

    >>> sum(p.numel() for p in alexnet().parameters())
    60965224
    """
    require("alexnet", size, SMALLEST)
    parts = Parts(activation, norm, pooling, dropout, neck)
    model = AlexNet(branches, num_classes, in_channels, size, parts)
    catalog.build("init", init)(model)
    return model
