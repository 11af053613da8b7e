"""All-CNN-C: convolutions only; those with stride 2 stand where others pool."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import ConvClassifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Dropout, Initialization, Norm

Size = Annotated[int, Ge(1)]


class AllCNN(ConvClassifier):
    """Seven 3x3 convolutions, two of them with stride 2, and two 1x1 convolutions."""

    def __init__(self, num_classes: int, in_channels: int, parts: Parts) -> None:
        super().__init__(192, parts)
        layers: list[nn.Module] = [
            nn.Identity() if catalog.split("dropout", parts.dropout)[0] == "none" else nn.Dropout(0.2)
        ]  # of the image
        width_in = in_channels
        for width, stride in ((96, 1), (96, 1), (96, 2), (192, 1), (192, 1), (192, 2)):
            layers += parts.unit(nn.Conv2d(width_in, width, 3, stride, 1), width)
            if stride == 2:
                layers.append(parts.drop())
            width_in = width
        # The paper pads the last 3x3 convolution no longer.
        layers += parts.unit(nn.Conv2d(192, 192, 3), 192)
        layers += parts.unit(nn.Conv2d(192, 192, 1), 192)
        self.features = nn.Sequential(*layers)
        self.drop = nn.Identity()
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps


@technique(
    "model",
    "allcnn",
    source="Springenberg et al. 2015, All-CNN-C (1,369,738 parameters for CIFAR-10)",
    chapter="3 经典结构 architectures",
    use="small images; a net of one kind of layer, easy to port",
)
def allcnn(
    num_classes: Size = 10,
    in_channels: Size = 3,
    size: Size = 32,
    activation: Activation = "relu",
    norm: Norm = "none",
    dropout: Dropout = "inverted",
    init: Initialization = "by_activation",
) -> AllCNN:
    """All-CNN-C: input (N, in_channels, H, W), H, W >= 9, output logits (N, num_classes).

    Args:
        num_classes: K.
        in_channels: C.
        size: of the images, only to refuse too small ones.
        activation, norm, init: by name.
        dropout: after each convolution with stride 2; unless it is none, 20% of the image's values are
            dropped too, as in the paper.

    Raises:
        UserError: if the images are too small.

    >>> sum(p.numel() for p in allcnn().parameters())
    1369738
    """
    require("allcnn", size, 9)
    model = AllCNN(num_classes, in_channels, Parts(activation, norm, dropout=dropout))
    catalog.build("init", init)(model)
    return model
