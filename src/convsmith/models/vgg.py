"""VGG nets: nothing but 3x3 convolutions between poolings, and three fully connected layers."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import Classifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Convolution, Dropout, Initialization, Neck, Norm, Pooling

Size = Annotated[int, Ge(1)]
# Convolutions in each of the five stages: columns A, B, D and E of the paper's table 1.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Classifier):
    """Five stages of 3x3 convolutions with 1, 2, 4, 8, 8 times ``width`` channels, each pooled.

    Args:
        hidden: units of each of the two hidden fully connected layers; 0 averages the maps instead.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        hidden: int,
        num_classes: int,
        in_channels: int,
        size: int,
        parts: Parts,
    ) -> None:
        last = 8 * width
        super().__init__(hidden or last, parts)
        layers: list[nn.Module] = []
        channels = in_channels
        ordinary = Parts()
        for stage, count in enumerate(STAGES[depth]):
            own = width * min(8, 2**stage)
            for _ in range(count):
                conv = (parts if stage == 4 else ordinary).convolve(channels, own)
                layers += parts.unit(conv, own, respond=channels == in_channels)
                channels = own
            layers.append(parts.pool(own, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = None
        if hidden:
            side = size // 32
            self.classifier = nn.Sequential(
                nn.Linear(last * side * side, hidden),
                parts.act(hidden),
                parts.drop(),
                nn.Linear(hidden, hidden),
                parts.act(hidden),
            )
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps

    def pool(self, x: Tensor) -> Tensor:
        if self.classifier is None:
            return super().pool(x)
        hidden: Tensor = self.classifier(x.contiguous().flatten(1))
        return hidden


@technique(
    "model",
    "vgg{depth}",
    depth=(11, 13, 16, 19),
    source="Simonyan & Zisserman 2015, table 1 (138,357,544 parameters with 16 layers)",
    chapter="3 经典结构 architectures",
    use="simple to take apart and to compress; slower and larger than a ResNet of its accuracy",
)
def vgg(
    depth: int,
    num_classes: Size = 1000,
    in_channels: Size = 3,
    size: Size = 224,
    width: Size = 64,
    hidden: Annotated[int, Ge(0)] = 4096,
    activation: Activation = "relu",
    norm: Norm = "none",
    pooling: Pooling = "max",
    dropout: Dropout = "inverted",
    neck: Neck = "none",
    convolution: Convolution = "plain",
    init: Initialization = "by_activation",
) -> VGG:
    """VGG-11, 13, 16 or 19: input (N, in_channels, size, size), size >= 32, output logits (N, num_classes).

    Args:
        depth: layers with weights.
        num_classes: K.
        in_channels: C.
        size: of the images; the first fully connected layer fits it.
        width: channels of the first stage; the paper's is 64.
        hidden: units of the hidden fully connected layers, 4096 in the paper; 0 averages the last maps
            instead, which takes images of any size.
        activation, pooling, dropout, neck, init: by name.
        norm: ``batch`` gives VGG-BN.
        convolution: sort of the last stage's convolutions.

    Raises:
        UserError: if the images are too small.

    >>> sum(p.numel() for p in vgg(11, width=8, hidden=64, size=32).parameters())
    217880
    """
    require(f"vgg{depth}", size, 32)
    parts = Parts(activation, norm, pooling, dropout, neck, convolution)
    model = VGG(depth, width, hidden, num_classes, in_channels, size, parts)
    catalog.build("init", init)(model)
    return model
