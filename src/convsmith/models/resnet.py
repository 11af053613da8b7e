"""ResNets for small images."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import Spec, technique
from convsmith.nn.classifier import Classifier

Size = Annotated[int, Ge(1)]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input passes; where the shape changes, the shortcut
    subsamples and pads with zero channels (option A of the paper: no parameters)."""

    def __init__(self, width_in: int, width: int, stride: int, activation: Spec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = catalog.build("activation", activation)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = catalog.build("activation", activation)
        self.stride = stride
        self.extra = width - width_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        if self.stride > 1 or self.extra:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        out: Tensor = self.act2(y + x)
        return out


class SmallResNet(Classifier):
    """3x3 stem, three stages of ``blocks`` blocks with 1, 2 and 4 times ``width`` channels."""

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module

    def __init__(self, blocks: int, width: int, num_classes: int, in_channels: int, activation: Spec) -> None:
        super().__init__(num_features=4 * width)
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = catalog.build("activation", activation)
        widths = [width, width, 2 * width, 4 * width]
        for stage in (1, 2, 3):
            layers = [
                BasicBlock(
                    widths[stage - 1] if block == 0 else widths[stage],
                    widths[stage],
                    stride=2 if stage > 1 and block == 0 else 1,
                    activation=activation,
                )
                for block in range(blocks)
            ]
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        maps: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return maps

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _resnet(
    depth: int, num_classes: int, in_channels: int, width: int, activation: Spec, init: Spec
) -> SmallResNet:
    model = SmallResNet((depth - 2) // 6, width, num_classes, in_channels, activation)
    catalog.build("init", init)(model)
    return model


@technique(
    "model",
    "resnet20",
    source="He et al. 2016, section 4.2",
    chapter="3 经典结构 architectures",
    use="small images on a CPU or a phone",
)
def resnet20(
    num_classes: Size = 10,
    in_channels: Size = 3,
    width: Size = 16,
    activation: Spec = "relu",
    init: Spec = "he",
) -> SmallResNet:
    """ResNet-20 for small images: input (N, in_channels, H, W), output logits (N, num_classes).

    >>> sum(p.numel() for p in resnet20().parameters())
    269722
    """
    return _resnet(20, num_classes, in_channels, width, activation, init)


@technique(
    "model",
    "resnet32",
    source="He et al. 2016, section 4.2",
    chapter="3 经典结构 architectures",
    use="small images, a little more accuracy for 1.7 times the work",
)
def resnet32(
    num_classes: Size = 10,
    in_channels: Size = 3,
    width: Size = 16,
    activation: Spec = "relu",
    init: Spec = "he",
) -> SmallResNet:
    """ResNet-32 for small images: input (N, in_channels, H, W), output logits (N, num_classes).

    >>> sum(p.numel() for p in resnet32().parameters())
    464154
    """
    return _resnet(32, num_classes, in_channels, width, activation, init)


@technique(
    "model",
    "resnet44",
    source="He et al. 2016, section 4.2",
    chapter="3 经典结构 architectures",
    use="small images, between ResNet-32 and ResNet-56",
)
def resnet44(
    num_classes: Size = 10,
    in_channels: Size = 3,
    width: Size = 16,
    activation: Spec = "relu",
    init: Spec = "he",
) -> SmallResNet:
    """ResNet-44 for small images: input (N, in_channels, H, W), output logits (N, num_classes).

    >>> sum(p.numel() for p in resnet44().parameters())
    658586
    """
    return _resnet(44, num_classes, in_channels, width, activation, init)


@technique(
    "model",
    "resnet56",
    source="He et al. 2016, section 4.2",
    chapter="3 经典结构 architectures",
    use="small images and a GPU",
)
def resnet56(
    num_classes: Size = 10,
    in_channels: Size = 3,
    width: Size = 16,
    activation: Spec = "relu",
    init: Spec = "he",
) -> SmallResNet:
    """ResNet-56 for small images: input (N, in_channels, H, W), output logits (N, num_classes).

    >>> sum(p.numel() for p in resnet56().parameters())
    853018
    """
    return _resnet(56, num_classes, in_channels, width, activation, init)


@technique(
    "model",
    "resnet110",
    source="He et al. 2016, section 4.2",
    chapter="3 经典结构 architectures",
    use="small images and patience",
)
def resnet110(
    num_classes: Size = 10,
    in_channels: Size = 3,
    width: Size = 16,
    activation: Spec = "relu",
    init: Spec = "he",
) -> SmallResNet:
    """ResNet-110 for small images: input (N, in_channels, H, W), output logits (N, num_classes).

    >>> sum(p.numel() for p in resnet110().parameters())
    1727962
    """
    return _resnet(110, num_classes, in_channels, width, activation, init)
