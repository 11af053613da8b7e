"""Any net with another sort of 3x3 convolutions in chosen stages."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Ge
from torch import nn

from convsmith import catalog
from convsmith.catalog import Kind, Spec, technique
from convsmith.nn.sections import Convolution
from convsmith.nn.swap_convolutions import swap_convolutions

Size = Annotated[int, Ge(1)]
NAME, INNER = "with_convolution", "resnet20"


@technique(
    "model",
    "with_convolution",
    source="Yu & Koltun 2016 (dilated); Dai et al. 2017 (deformable, in the last stages)",
    chapter="1 基本部件 layers",
    use="dilated or deformable convolutions in any net, timm's and pretrained ones too",
)
def with_convolution(
    num_classes: Size = 10,
    in_channels: Size = 3,
    size: Size = 32,
    model: Annotated[Spec, Kind("model")] = INNER,
    convolution: Convolution = "deformable",
    stages: Sequence[int] = (-1,),
) -> nn.Module:
    """The net that ``model`` names, its 3x3 convolutions in some stages exchanged; its weights stay.

    Input (N, in_channels, size, size), output logits (N, num_classes). The names of the weights are the
    net's own, so that its trained weights fit; those of deformable offsets are new and zero, so that the net
    starts as it was. Which convolutions are exchanged, and how stages are counted:
    :func:`convsmith.nn.swap_convolutions.swap_convolutions`.

    Args:
        num_classes: K.
        in_channels: C.
        size: of the images, in pixels.
        model: the net.
        convolution: by name.
        stages: numbers of the stages, 1 the first, -1 the last that has 3x3 convolutions.

    Raises:
        UserError: if the net has no such convolution or stage.

    >>> net = with_convolution(model="googlenet", size=64)
    >>> [name for name, layer in net.named_modules() if type(layer).__name__ == "DeformableConv2d"]
    ['inception5a.branch2.1.conv', 'inception5b.branch2.1.conv']
    """
    given = {"num_classes": num_classes, "in_channels": in_channels, "size": size}
    net: nn.Module = catalog.build("model", model, **given)
    swap_convolutions(net, convolution, (in_channels, size, size), stages)
    return net


def parted(section: Spec) -> tuple[str, dict[str, Any], str | None]:
    """A net's name, its arguments, and in words what ``with_convolution`` makes of it, if it is around it.

    >>> parted({"with_convolution": {"model": {"vgg11": {"width": 8}}, "stages": [1, 2]}})
    ('vgg11', {'width': 8}, 'deformable in stages 1, 2')
    >>> parted("vgg11")
    ('vgg11', {}, None)
    """
    name, arguments = catalog.split("model", section)
    if name != NAME:
        return name, arguments, None
    usual = inspect.signature(with_convolution).parameters
    model, convolution, stages = (
        arguments.get(key, usual[key].default) for key in ("model", "convolution", "stages")
    )
    return *catalog.split("model", model), f"{convolution} in stages {', '.join(map(str, stages))}"


def pretrained(section: Spec) -> dict[str, Any]:
    """The section of a net of timm, also within ``with_convolution``, with the switch that fetches weights.

    >>> pretrained({"with_convolution": {"model": "timm:resnet18"}})
    {'with_convolution': {'model': {'timm:resnet18': {'pretrained': True}}}}
    """
    name, arguments = catalog.split("model", section)
    if name == NAME:
        return {name: {**arguments, "model": pretrained(arguments.get("model", INNER))}}
    return {name: {**arguments, "pretrained": True}}
