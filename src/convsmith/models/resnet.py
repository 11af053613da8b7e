"""Residual nets, for small images and for photographs, and the same nets without their shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import Classifier
from convsmith.nn.parts import Parts
from convsmith.nn.sections import (
    Activation,
    Convolution,
    Dropout,
    GlobalPooling,
    Initialization,
    Neck,
    Norm,
    Pooling,
)

Size = Annotated[int, Ge(1)]


class PadShortcut(nn.Module):
    """Subsample and add zero channels: option A of the paper, without parameters."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra = extra
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


def shortcut(width_in: int, width: int, stride: int, parts: Parts, *, project: bool) -> nn.Module:
    """Around a block: nothing where the shape stays, else option A or a 1x1 convolution (option B)."""
    if stride == 1 and width_in == width:
        return nn.Identity()
    if not project:
        return PadShortcut(width - width_in, stride)
    conv = nn.Conv2d(width_in, width, 1, stride, bias=not parts.normalized)
    return nn.Sequential(conv, parts.normalize(width))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input passes; ``around`` None makes it a plain block."""

    expansion = 1

    def __init__(
        self, width_in: int, width: int, stride: int, parts: Parts, around: nn.Module | None
    ) -> None:
        super().__init__()
        bias = not parts.normalized
        self.conv1 = parts.convolve(width_in, width, stride, bias)
        self.bn1 = parts.normalize(width)
        self.act1 = parts.act(width)
        self.conv2 = parts.convolve(width, width, 1, bias)
        self.bn2 = parts.normalize(width)
        self.act2 = parts.act(width)
        self.downsample = around

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        out: Tensor = self.act2(y if self.downsample is None else y + self.downsample(x))
        return out


class Bottleneck(nn.Module):
    """1x1 down to ``width``, 3x3, 1x1 up to 4 * width; the 3x3 subsamples, as in torchvision."""

    expansion = 4

    def __init__(
        self, width_in: int, width: int, stride: int, parts: Parts, around: nn.Module | None
    ) -> None:
        super().__init__()
        bias, out = not parts.normalized, width * self.expansion
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=bias)
        self.bn1 = parts.normalize(width)
        self.act1 = parts.act(width)
        self.conv2 = parts.convolve(width, width, stride, bias)
        self.bn2 = parts.normalize(width)
        self.act2 = parts.act(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=bias)
        self.bn3 = parts.normalize(out)
        self.act3 = parts.act(out)
        self.downsample = around

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.act2(self.bn2(self.conv2(y)))))
        out: Tensor = self.act3(y if self.downsample is None else y + self.downsample(x))
        return out


class ResNet(Classifier):
    """A stem, stages of blocks of which each but the first halves the maps and doubles the channels, a head.

    Args:
        blocks: how many in each stage.
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        width: channels of the first stage.
        small: a 3x3 stem that keeps the size and shortcuts without parameters, as for CIFAR; else a 7x7
            stem that, with its pooling, divides the size by 4, and shortcuts by 1x1 convolutions.
        plain: no shortcuts at all.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        block: type[BasicBlock] | type[Bottleneck],
        width: int,
        num_classes: int,
        in_channels: int,
        parts: Parts,
        *,
        small: bool,
        plain: bool,
    ) -> None:
        super().__init__(width * block.expansion * 2 ** (len(blocks) - 1), parts)
        bias = not parts.normalized
        self.conv1 = (
            nn.Conv2d(in_channels, width, 3, 1, 1, bias=bias)
            if small
            else nn.Conv2d(in_channels, width, 7, 2, 3, bias=bias)
        )
        self.bn1 = parts.normalize(width)
        self.act1 = parts.act(width)
        self.maxpool = nn.Identity() if small else parts.pool(width, 3, 2, 1)
        self.stages = len(blocks)
        channels = width
        ordinary = Parts(parts.activation, parts.norm)
        for stage, count in enumerate(blocks):
            own = width * 2**stage
            layers: list[nn.Module] = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                out = own * block.expansion
                around = None if plain else shortcut(channels, out, stride, parts, project=not small)
                # ``convolution`` applies to the last stage alone, as in the papers: it is cheapest there.
                chosen = parts if stage == len(blocks) - 1 else ordinary
                layers.append(block(channels, own, stride, chosen, around))
                channels = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x


@technique(
    "model",
    "resnet{depth}",
    depth=(20, 32, 44, 56, 110),
    source="He et al. 2016, section 4.2",
    chapter="3 经典结构 architectures",
    use="small images, up to about 40 pixels; 20 on a CPU or a phone, 56 and more on a GPU",
)
def small_resnet(
    depth: int,
    num_classes: Size = 10,
    in_channels: Size = 3,
    width: Size = 16,
    activation: Activation = "relu",
    norm: Norm = "batch",
    dropout: Dropout = "none",
    neck: Neck = "none",
    convolution: Convolution = "plain",
    global_pooling: GlobalPooling = "average",
    plain: bool = False,
    init: Initialization = "by_activation",
) -> ResNet:
    """ResNet for small images: input (N, in_channels, H, W), output logits (N, num_classes).

    Args:
        depth: 20, 32, 44, 56 or 110 layers with weights.
        num_classes: K.
        in_channels: C.
        width: channels of the first stage; the paper's is 16.
        activation, norm, dropout, neck, global_pooling, init: by name.
        convolution: sort of the last stage's 3x3 convolutions.
        plain: without shortcuts, to see what they do.

    >>> sum(p.numel() for p in small_resnet(20).parameters())
    269722
    """
    parts = Parts(activation, norm, "max", dropout, neck, convolution, global_pooling)
    blocks = [(depth - 2) // 6] * 3
    model = ResNet(blocks, BasicBlock, width, num_classes, in_channels, parts, small=True, plain=plain)
    catalog.build("init", init)(model)
    return model


DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


@technique(
    "model",
    "resnet{depth}",
    depth=(18, 34, 50, 101, 152),
    source="He et al. 2016, table 1",
    chapter="3 经典结构 architectures",
    use="photographs of 64 pixels and more; pretrained ones through timm:NAME or torchvision's files",
)
def resnet(
    depth: int,
    num_classes: Size = 1000,
    in_channels: Size = 3,
    width: Size = 64,
    activation: Activation = "relu",
    norm: Norm = "batch",
    pooling: Pooling = "max",
    dropout: Dropout = "none",
    neck: Neck = "none",
    convolution: Convolution = "plain",
    global_pooling: GlobalPooling = "average",
    plain: bool = False,
    init: Initialization = "by_activation",
) -> ResNet:
    """ResNet for photographs: input (N, in_channels, H, W), output logits (N, num_classes).

    Names of the weights are torchvision's.

    Args:
        depth: 18, 34, 50, 101 or 152 layers with weights.
        num_classes: K.
        in_channels: C.
        width: channels of the first stage; the paper's is 64.
        activation, norm, pooling, dropout, neck, global_pooling, init: by name.
        convolution: sort of the last stage's 3x3 convolutions.
        plain: without shortcuts, to see what they do.

    >>> sum(p.numel() for p in resnet(18).parameters())
    11689512
    """
    parts = Parts(activation, norm, pooling, dropout, neck, convolution, global_pooling)
    block, blocks = DEPTHS[depth]
    model = ResNet(blocks, block, width, num_classes, in_channels, parts, small=False, plain=plain)
    catalog.build("init", init)(model)
    return model
