"""SqueezeNet: Fire modules squeeze the channels before 3x3 convolutions see them."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import ConvClassifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Dropout, Initialization, Norm, Pooling

Size = Annotated[int, Ge(1)]


class Fire(nn.Module):
    """1x1 down to ``squeeze`` channels, then 1x1 and 3x3 side by side up to ``expand`` each.

    >>> Fire(8, 2, 4, Parts())(torch.zeros(1, 8, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, width_in: int, squeeze: int, expand: int, parts: Parts) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width_in, squeeze, 1)
        self.squeeze_activation = nn.Sequential(*parts.unit(nn.Identity(), squeeze)[1:])
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand_activation = nn.Sequential(*parts.unit(nn.Identity(), 2 * expand)[1:])

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        out: Tensor = self.expand_activation(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))
        return out


# Fire modules (squeeze, expand); 0 is a pooling.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
POOLS_BEFORE = {0: (3, 7), 1: (2, 4)}


class SqueezeNet(ConvClassifier):
    """A convolution, eight Fire modules with poolings among them, and a map for each class.

    Args:
        version: 0 or 1, for 1.0 and 1.1.
    """

    def __init__(self, version: int, num_classes: int, in_channels: int, parts: Parts) -> None:
        super().__init__(512, parts)
        width, kernel = ((96, 7), (64, 3))[version]
        layers = parts.unit(nn.Conv2d(in_channels, width, kernel, 2), width)
        layers.append(parts.pool(width, 3, 2, ceil_mode=True))
        for number, (squeeze, expand) in enumerate(FIRES):
            if number in POOLS_BEFORE[version]:
                layers.append(parts.pool(width, 3, 2, ceil_mode=True))
            layers.append(Fire(width, squeeze, expand, parts))
            width = 2 * expand
        self.features = nn.Sequential(*layers)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps


@technique(
    "model",
    "squeezenet1_{version}",
    version=(0, 1),
    source="Iandola et al. 2016 (1,248,424 parameters; 1.1: 1,235,496 and 2.4 times less work)",
    chapter="3 经典结构 architectures",
    use="photographs in little memory",
)
def squeezenet(
    version: int,
    num_classes: Size = 1000,
    in_channels: Size = 3,
    size: Size = 224,
    activation: Activation = "relu",
    norm: Norm = "none",
    pooling: Pooling = "max",
    dropout: Dropout = "inverted",
    init: Initialization = "by_activation",
) -> SqueezeNet:
    """SqueezeNet 1.0 or 1.1: input (N, in_channels, H, W), output logits (N, num_classes).

    Args:
        version: 0 or 1.
        num_classes: K.
        in_channels: C.
        size: of the images (>= 21, 1.1: >= 17), only to refuse too small ones.
        activation, norm, pooling, dropout, init: by name.

    Raises:
        UserError: if the images are too small.

    >>> sum(p.numel() for p in squeezenet(1).parameters())
    1235496
    """
    require(f"squeezenet1_{version}", size, (21, 17)[version])
    parts = Parts(activation, norm, pooling, dropout)
    model = SqueezeNet(version, num_classes, in_channels, parts)
    catalog.build("init", init)(model)
    return model
