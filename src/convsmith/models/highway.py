"""Highway networks: each layer learns, at each place, how much to transform and how much to carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from convsmith import catalog
from convsmith.catalog import technique
from convsmith.nn.classifier import Classifier, require
from convsmith.nn.parts import Parts
from convsmith.nn.sections import Activation, Dropout, Initialization, Neck, Norm, Pooling

Size = Annotated[int, Ge(1)]
Bias = Annotated[float, Le(0)]


class Gate(nn.Module):
    """The sigmoid of a layer that starts with a negative bias, so that at first most is carried."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, bias: float) -> None:
        super().__init__()
        self.layer = layer
        self.bias = bias

    @torch.no_grad()
    def close(self) -> None:
        assert self.layer.bias is not None
        self.layer.bias.fill_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        opening: Tensor = self.layer(x).sigmoid()
        return opening


class Highway(nn.Module):
    """y = H(x) T(x) + x (1 - T(x)): a transform, a gate, and C = 1 - T.

    Args:
        make: gives a layer that keeps the shape; called for the transform and for the gate.
        act: activation of the transform.
        bias: of the gate at the start; the paper's is -1 to -3.

    >>> layer = Highway(lambda: nn.Linear(4, 4), nn.ReLU(), bias=-100.0)
    >>> layer(torch.ones(1, 4))
    tensor([[1., 1., 1., 1.]], grad_fn=<AddBackward0>)
    """

    def __init__(self, make: Callable[[], nn.Linear | nn.Conv2d], act: nn.Module, bias: float) -> None:
        super().__init__()
        self.transform = make()
        self.act = act
        self.gate = Gate(make(), bias)
        self.gate.close()

    def forward(self, x: Tensor) -> Tensor:
        opening = self.gate(x)
        carried: Tensor = x + opening * (self.act(self.transform(x)) - x)
        return carried


class HighwayPerceptron(Classifier):
    """A plain layer, highway layers of the same width, a classifier."""

    def __init__(
        self, depth: int, width: int, inputs: int, num_classes: int, bias: float, parts: Parts
    ) -> None:
        super().__init__(width, parts)
        self.first = nn.Sequential(nn.Linear(inputs, width), parts.act(width))
        self.layers = nn.Sequential(
            *[Highway(lambda: nn.Linear(width, width), parts.act(width), bias) for _ in range(depth - 2)]
        )
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layers(self.first(x.contiguous().flatten(1)))
        return hidden

    def pool(self, x: Tensor) -> Tensor:
        return x


class HighwayNet(Classifier):
    """Three stages: a plain 3x3 convolution to 1, 2 and 4 times ``width``, then 3x3 highway layers."""

    def __init__(
        self, depth: int, width: int, num_classes: int, in_channels: int, bias: float, parts: Parts
    ) -> None:
        super().__init__(4 * width, parts)
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in range(3):
            own = width * 2**stage
            layers += parts.unit(nn.Conv2d(channels, own, 3, 1, 1), own)
            for _ in range((depth - 4) // 3):
                layers.append(
                    Highway(lambda own=own: nn.Conv2d(own, own, 3, 1, 1), parts.act(own), bias)  # type: ignore[misc]
                )
            if stage < 2:
                layers += [parts.pool(own, 2), parts.drop()]
            channels = own
        self.features = nn.Sequential(*layers)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps


def _initialize(model: nn.Module, init: Initialization) -> None:
    catalog.build("init", init)(model)
    for layer in model.modules():
        if isinstance(layer, Gate):
            layer.close()  # the initialization has zeroed the bias


@technique(
    "model",
    "highway{depth}",
    depth=(10, 20, 50, 100),
    source="Srivastava et al. 2015, Training very deep networks, 3.1 (5,100 parameters a layer of 50)",
    chapter="3 经典结构 architectures",
    use="to train a very deep fully connected net",
)
def highway(
    depth: int,
    num_classes: Size = 10,
    in_channels: Size = 1,
    size: Size = 28,
    width: Size = 50,
    gate_bias: Bias = -2.0,
    activation: Activation = "relu",
    dropout: Dropout = "none",
    neck: Neck = "none",
    init: Initialization = "by_activation",
) -> HighwayPerceptron:
    """Highway perceptron: input (N, in_channels, size, size), output logits (N, num_classes).

    Args:
        depth: 10, 20, 50 or 100 layers, the plain first one and the classifier included.
        num_classes: K.
        in_channels: C.
        size: of the images.
        width: units of each layer.
        gate_bias: bias of the transform gates at the start, <= 0.
        activation, dropout, neck, init: by name.

    >>> sum(p.numel() for p in highway(10).parameters())
    80560
    """
    parts = Parts(activation, dropout=dropout, neck=neck)
    model = HighwayPerceptron(depth, width, in_channels * size * size, num_classes, gate_bias, parts)
    _initialize(model, init)
    return model


@technique(
    "model",
    "highway_cnn{depth}",
    depth=(10, 19, 31),
    source="Srivastava et al. 2015, Training very deep networks, section 3.2, in even stages",
    chapter="3 经典结构 architectures",
    use="small images: what came just before the residual net",
)
def highway_cnn(
    depth: int,
    num_classes: Size = 10,
    in_channels: Size = 3,
    size: Size = 32,
    width: Size = 32,
    gate_bias: Bias = -2.0,
    activation: Activation = "relu",
    norm: Norm = "none",
    pooling: Pooling = "max",
    dropout: Dropout = "none",
    neck: Neck = "none",
    init: Initialization = "by_activation",
) -> HighwayNet:
    """Convolutional highway net: input (N, in_channels, H, W), H, W >= 4, output logits (N, num_classes).

    The paper gives widths only by reference to FitNets; here each stage has one width.

    Args:
        depth: layers with weights, the gates not counted.
        num_classes: K.
        in_channels: C.
        size: of the images, only to refuse too small ones.
        width: channels of the first stage.
        gate_bias: bias of the transform gates at the start, <= 0.
        activation, pooling, dropout, neck, init: by name.
        norm: by name, after the plain convolution of each stage.

    Raises:
        UserError: if the images are too small.

    >>> highway_cnn(10, width=4)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    require(f"highway_cnn{depth}", size, 4)
    parts = Parts(activation, norm, pooling, dropout, neck)
    model = HighwayNet(depth, width, num_classes, in_channels, gate_bias, parts)
    _initialize(model, init)
    return model
