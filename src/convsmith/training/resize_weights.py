"""Trained weights for a net of another shape: other images, other channels, other classes."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from timm.models import adapt_input_conv
from torch import Tensor, nn

from convsmith.findings import Finding
from convsmith.nn.probe import After, blank, probe

SOURCE = "Long et al. 2015, section 3.1: a fully connected layer is a convolution as large as its map"


def interpolated(weight: Tensor, channels: int, inputs: int) -> Tensor:
    """Resize a fully connected weight (O, C h h) to (O, C g g), with C g g = ``inputs``.

    Each unit's kernel (C, h, h) is averaged (g < h) or interpolated (g > h) to (C, g, g), and its sum kept,
    so that an even map excites the unit as before.

    >>> import torch
    >>> interpolated(torch.ones(1, 4), 1, 16).unique()
    tensor([0.2500])
    """
    before, after = (math.isqrt(count // channels) for count in (weight.shape[1], inputs))
    kernels = weight.view(-1, channels, before, before)
    fitted = F.interpolate(kernels, size=(after, after), mode="bilinear", antialias=True)
    fitted = fitted * (before / after) ** 2
    # The sum that interpolation loses at the border is spread evenly.
    lost = kernels.sum((2, 3), keepdim=True) - fitted.sum((2, 3), keepdim=True)
    return (fitted + lost / after**2).flatten(1)


def resized_weights(
    tensors: dict[str, Tensor], model: nn.Module, shape: tuple[int, int, int], *, interpolate: bool
) -> tuple[dict[str, Tensor], list[Finding]]:
    """Select the tensors that fit ``model``, and resize those for another image size or for RGB images.

    Args:
        tensors: a state of the same net.
        model: the net.
        shape: of its images (C, H, W).
        interpolate: fully connected layers over maps of another size; otherwise they stay fresh.
    """
    own = model.state_dict()
    channels = _channels_before(model, shape)
    fitting: dict[str, Tensor] = {}
    made: list[str] = []
    grey: list[str] = []
    colored: list[str] = []
    fresh: list[str] = []
    for key, given in tensors.items():
        if key not in own:
            continue
        wanted = own[key].shape
        if given.shape == wanted:
            fitting[key] = given
        elif given.ndim == 4 and given[:, :1].shape == wanted and given.shape[1] == 3:
            fitting[key] = adapt_input_conv(1, given)
            grey.append(key)
        elif given.ndim == 4 and given.shape[1] == 1 and wanted == (len(given), 3, *given.shape[2:]):
            fitting[key] = (given / 3).repeat(1, 3, 1, 1)
            colored.append(key)
        elif key in channels and given.shape[0] == wanted[0] and _square(given.shape[1], channels[key]):
            if interpolate:
                fitting[key] = interpolated(given, channels[key], wanted[1]).contiguous()
                made.append(key)
            else:
                fitting[key] = own[key]
                fresh.append(key)
    return fitting, _findings(made, fresh, grey, colored, shape[1])


def _findings(
    made: list[str], fresh: list[str], grey: list[str], colored: list[str], size: int
) -> list[Finding]:
    found = []
    if made:
        found.append(
            Finding(
                seen=f"{', '.join(made)}: kernels interpolated for images of {size} pixels",
                means="the layer keeps what it has learned, a little blurred",
                change="train.resize_weights=new starts it afresh, fully_convolutional keeps it as it is",
                why="a fully connected layer is made for one size of map",
                source=SOURCE,
            )
        )
    if fresh:
        found.append(
            Finding(
                seen=f"{', '.join(fresh)}: made anew for images of {size} pixels",
                means="what these layers had learned is gone",
                change="train.resize_weights=interpolate keeps it",
                why="a fully connected layer is made for one size of map",
                source=SOURCE,
            )
        )
    if grey:
        found.append(
            Finding(
                seen=f"{grey[0]}: its kernels for red, green and blue are summed, for grey images",
                means="a grey image excites it as it would with three equal channels",
                why="these weights were trained on color images",
                source="timm, adapt_input_conv",
            )
        )
    if colored:
        found.append(
            Finding(
                seen=f"{colored[0]}: its kernels for grey are a third each for red, green and blue",
                means="a color image excites it as its mean over the channels would",
                why="these weights were trained on grey images",
                source="the inverse of timm's adapt_input_conv",
            )
        )
    return found


def _square(inputs: int, channels: int) -> bool:
    return inputs % channels == 0 and math.isqrt(inputs // channels) ** 2 == inputs // channels


def _channels_before(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """For each fully connected layer that reads a flattened map: the map's channels."""
    found: dict[str, int] = {}
    last = [shape[0]]
    flat = [True]  # whether what was seen last is a map, so that the next layer reads it flattened

    def note(name: str) -> After:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(layer, nn.Linear):
                if flat[0] and _square(layer.in_features, last[0]):
                    found[f"{name}.weight"] = last[0]
                flat[0] = False
            elif isinstance(output, Tensor) and output.ndim == 4:
                last[0], flat[0] = output.shape[1], True

        return hook

    probe(model, blank(model, shape), after={name: note(name) for name, _ in model.named_modules()})
    return found
