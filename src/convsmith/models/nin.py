"""Network in network: a small perceptron instead of each linear filter, and no fully connected layer."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import ConvClassifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Dropout, Initialization, Norm, Pooling

Size = Annotated[int, Ge(1)]


class NIN(ConvClassifier):
    """Three perceptron convolutions; the last layer of the last one has a map for each class.

    ``last`` makes the pooling after the second one.
    """

    def __init__(self, num_classes: int, in_channels: int, parts: Parts, last: Parts) -> None:
        super().__init__(192, parts)
        self.features = nn.Sequential(
            *_perceptron(parts, in_channels, 5, (192, 160, 96)),
            parts.pool(96, 3, 2, ceil_mode=True),
            parts.drop(),
            *_perceptron(parts, 96, 5, (192, 192, 192)),
            last.pool(192, 3, 2, ceil_mode=True),
            parts.drop(),
            *_perceptron(parts, 192, 3, (192, 192)),
        )
        self.drop = nn.Identity()
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps


def _perceptron(parts: Parts, width_in: int, kernel: int, widths: tuple[int, ...]) -> list[nn.Module]:
    """A convolution and 1x1 convolutions after it: a perceptron that slides over the maps."""
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        side = kernel if number == 0 else 1
        layers += parts.unit(nn.Conv2d(width_in, width, side, padding=side // 2), width)
        width_in = width
    return layers


@technique(
    "model",
    "nin",
    source="Lin et al. 2014 (966,986 parameters for CIFAR-10)",
    chapter="3 经典结构 architectures",
    use="small images; the first net with global average pooling",
)
def nin(
    num_classes: Size = 10,
    in_channels: Size = 3,
    size: Size = 32,
    activation: Activation = "relu",
    norm: Norm = "none",
    pooling: Pooling | None = None,
    dropout: Dropout = "inverted",
    init: Initialization = "by_activation",
) -> NIN:
    """Network in network: input (N, in_channels, H, W), H, W >= 4, output logits (N, num_classes).

    Args:
        num_classes: K.
        in_channels: C.
        size: of the images, only to refuse too small ones.
        activation, norm, dropout, init: by name.
        pooling: of both; None is the paper's, max after the first perceptron and average after the second, as
            the authors' definition for cuda-convnet has them.

    Raises:
        UserError: if the images are too small.

    >>> sum(p.numel() for p in nin().parameters())
    966986
    """
    require("nin", size, 4)
    first, second = ("max", "average") if pooling is None else (pooling, pooling)
    last = Parts(pooling=second)
    model = NIN(num_classes, in_channels, Parts(activation, norm, first, dropout), last)
    catalog.build("init", init)(model)
    return model
