"""LeNet-5 and LeNet-300-100 as Caffe defines them: the nets of the compression literature."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import Classifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Dropout, Initialization, Neck, Norm, Pooling

Size = Annotated[int, Ge(1)]


class LeNet5(Classifier):
    """Two 5x5 convolutions with pooling, one hidden layer of 500 units."""

    def __init__(self, num_classes: int, in_channels: int, size: int, parts: Parts) -> None:
        super().__init__(500, parts)
        self.conv1 = nn.Conv2d(in_channels, 20, 5)
        self.norm1 = parts.normalize(20)
        self.pool1 = parts.pool(20, 2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.norm2 = parts.normalize(50)
        self.pool2 = parts.pool(50, 2)
        side = ((size - 4) // 2 - 4) // 2
        self.fc1 = nn.Linear(50 * side * side, 500)
        self.act = parts.act(500)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.pool1(self.norm1(self.conv1(x)))
        maps: Tensor = self.pool2(self.norm2(self.conv2(x)))
        return maps

    def pool(self, x: Tensor) -> Tensor:
        # contiguous: a flattened channels_last map would hand the units another order
        hidden: Tensor = self.act(self.fc1(x.contiguous().flatten(1)))
        return hidden


class LeNet300(Classifier):
    """A perceptron with 300 and 100 hidden units."""

    def __init__(self, num_classes: int, in_channels: int, size: int, parts: Parts) -> None:
        super().__init__(100, parts)
        self.fc1 = nn.Linear(in_channels * size * size, 300)
        self.fc2 = nn.Linear(300, 100)
        self.act1 = parts.act(300)
        self.act2 = parts.act(100)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.act2(self.fc2(self.act1(self.fc1(x.contiguous().flatten(1)))))
        return hidden

    def pool(self, x: Tensor) -> Tensor:
        return x


@technique(
    "model",
    "lenet5",
    source="LeCun et al. 1998, in Caffe's version (431,080 parameters at 1x28x28)",
    chapter="3 经典结构 architectures",
    use="small grey images such as digits",
)
def lenet5(
    num_classes: Size = 10,
    in_channels: Size = 1,
    size: Size = 28,
    activation: Activation = "relu",
    norm: Norm = "none",
    pooling: Pooling = "max",
    dropout: Dropout = "none",
    neck: Neck = "none",
    init: Initialization = "xavier",
) -> LeNet5:
    """LeNet-5: input (N, in_channels, size, size), size >= 16, output logits (N, num_classes).

    As in Caffe, no activation follows the convolutions but their pooling.

    >>> sum(p.numel() for p in lenet5().parameters())
    431080
    """
    require("lenet5", size, 16)
    model = LeNet5(num_classes, in_channels, size, Parts(activation, norm, pooling, dropout, neck))
    catalog.build("init", init)(model)
    return model


@technique(
    "model",
    "lenet300_100",
    source="LeCun et al. 1998 (266,610 parameters at 1x28x28)",
    chapter="3 经典结构 architectures",
    use="a fully connected net to compare with, and to compress",
)
def lenet300_100(
    num_classes: Size = 10,
    in_channels: Size = 1,
    size: Size = 28,
    activation: Activation = "relu",
    dropout: Dropout = "none",
    neck: Neck = "none",
    init: Initialization = "xavier",
) -> LeNet300:
    """LeNet-300-100: input (N, in_channels, size, size), output logits (N, num_classes).

    >>> sum(p.numel() for p in lenet300_100().parameters())
    266610
    """
    parts = Parts(activation, dropout=dropout, neck=neck)
    model = LeNet300(num_classes, in_channels, size, parts)
    catalog.build("init", init)(model)
    return model
