"""GoogLeNet: Inception modules look at the same maps with several sizes of kernels side by side."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import Classifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Dropout, Initialization, Neck, Norm, Pooling

Size = Annotated[int, Ge(1)]


class Unit(nn.Module):
    """A convolution with its normalization and activation, under torchvision's names."""

    def __init__(
        self,
        parts: Parts,
        width_in: int,
        width: int,
        kernel: int,
        stride: int = 1,
        *,
        respond: bool = False,
    ) -> None:
        super().__init__()
        local = catalog.split("norm", parts.norm)[0] == "local_response"
        bias = local or not parts.normalized
        self.conv = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, bias=bias)
        self.bn = nn.Identity() if local else parts.normalize(width)
        self.act = parts.act(width)
        self.respond = parts.normalize(width) if local and respond else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.respond(self.act(self.bn(self.conv(x))))
        return out


class Inception(nn.Module):
    """1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 pooling then 1x1: all four side by side."""

    def __init__(
        self, width_in: int, widths: tuple[int, int, int, int, int, int], parts: Parts, large: int
    ) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = widths
        self.branch1 = Unit(parts, width_in, one, 1)
        self.branch2 = nn.Sequential(Unit(parts, width_in, reduce3, 1), Unit(parts, reduce3, three, 3))
        self.branch3 = nn.Sequential(Unit(parts, width_in, reduce5, 1), Unit(parts, reduce5, five, large))
        self.branch4 = nn.Sequential(parts.pool(width_in, 3, 1, 1), Unit(parts, width_in, pooled, 1))
        self.width = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


# The rows of the paper's table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
STAGES: dict[str, dict[str, tuple[int, int, int, int, int, int]]] = {
    "3": {"a": (64, 96, 128, 16, 32, 32), "b": (128, 128, 192, 32, 96, 64)},
    "4": {
        "a": (192, 96, 208, 16, 48, 64),
        "b": (160, 112, 224, 24, 64, 64),
        "c": (128, 128, 256, 24, 64, 64),
        "d": (112, 144, 288, 32, 64, 64),
        "e": (256, 160, 320, 32, 128, 128),
    },
    "5": {"a": (256, 160, 320, 32, 128, 128), "b": (384, 192, 384, 48, 128, 128)},
}


class GoogLeNet(Classifier):
    """A stem that divides the size by 8, nine Inception modules in three stages, a mean over all places."""

    def __init__(self, num_classes: int, in_channels: int, parts: Parts, large: int) -> None:
        super().__init__(1024, parts)
        self.conv1 = Unit(parts, in_channels, 64, 7, 2)
        self.maxpool1 = parts.pool(64, 3, 2, ceil_mode=True)
        self.respond = self._respond(parts)
        self.conv2 = Unit(parts, 64, 64, 1)
        self.conv3 = Unit(parts, 64, 192, 3, respond=True)
        self.maxpool2 = parts.pool(192, 3, 2, ceil_mode=True)
        width = 192
        for stage, modules in STAGES.items():
            for letter, widths in modules.items():
                module = Inception(width, widths, parts, large)
                self.add_module(f"inception{stage}{letter}", module)
                width = module.width
        self.maxpool3 = parts.pool(480, 3, 2, ceil_mode=True)
        self.maxpool4 = parts.pool(832, 2 if large == 3 else 3, 2, ceil_mode=True)
        self.reset_classifier(num_classes)

    def _respond(self, parts: Parts) -> nn.Module:
        local = catalog.split("norm", parts.norm)[0] == "local_response"
        return parts.normalize(64) if local else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.respond(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        for stage, modules in STAGES.items():
            for letter in modules:
                x = self.get_submodule(f"inception{stage}{letter}")(x)
            x = self.maxpool3(x) if stage == "3" else self.maxpool4(x) if stage == "4" else x
        return x


@technique(
    "model",
    "googlenet",
    source="Szegedy et al. 2015, table 1 (6,998,552 parameters, without the auxiliary classifiers)",
    chapter="3 经典结构 architectures",
    use="photographs; few parameters for its accuracy",
)
def googlenet(
    num_classes: Size = 1000,
    in_channels: Size = 3,
    size: Size = 224,
    large: Literal[3, 5] = 5,
    activation: Activation = "relu",
    norm: Norm = "local_response",
    pooling: Pooling = "max",
    dropout: Dropout | None = None,
    neck: Neck = "none",
    init: Initialization = "by_activation",
) -> GoogLeNet:
    """GoogLeNet: input (N, in_channels, H, W), H, W >= 31, output logits (N, num_classes).

    The auxiliary classifiers, which batch normalization made needless, are no part of the net: the term
    ``auxiliary_heads`` adds them to a training, and nothing of them stays.

    Args:
        num_classes: K.
        in_channels: C.
        size: of the images, only to refuse too small ones.
        large: side of the large kernels; 5 is the paper's, 3 torchvision's, whose weights fit with
            ``norm={"batch": {"eps": 0.001}}``.
        activation, pooling, neck, init: by name.
        norm: local response normalization stands in the stem only, as in the paper, others everywhere.
        dropout: None is the paper's 40%.

    Raises:
        UserError: if the images are too small.

    >>> sum(p.numel() for p in googlenet().parameters())
    6998552
    """
    require("googlenet", size, 31)
    parts = Parts(activation, norm, pooling, {"inverted": {"p": 0.4}} if dropout is None else dropout, neck)
    model = GoogLeNet(num_classes, in_channels, parts, large)
    catalog.build("init", init)(model)
    return model
