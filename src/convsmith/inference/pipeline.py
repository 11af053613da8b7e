"""Preprocessing and net as one module, from bytes to outputs."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from convsmith.data.picture import sized
from convsmith.nn.normalizer import Normalizer
from convsmith.nn.probe import evaluating


class Net(Protocol):
    """What a predictor asks: outputs (N, K), float64 on the CPU, of uint8 images (N, S, S, C).

    A pipeline is one, an ensemble is one, and so may be a runtime without torch's modules.
    """

    def outputs(self, pixels: Tensor) -> Tensor: ...


class Pipeline(nn.Module):
    """From uint8 images (N, S, S, C) to the net's outputs (N, K).

    What evaluation, prediction and exported files run, so that none of them can preprocess differently.

    Args:
        model: from normalized images (N, C, H, W) to outputs (N, K).
        normalizer: of the pixels.
        size: side in pixels of the images that the net reads; others are resized.
        channels_last: memory format of what the net reads.
    """

    def __init__(
        self, model: nn.Module, normalizer: Normalizer, size: int, *, channels_last: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        # One of its own, where the net is: moving a module moves it for all who hold it.
        self.normalizer = Normalizer(normalizer.mean, normalizer.std).to(_weight(model).device)
        self.size = size
        self.channels_last = channels_last

    def forward(self, pixels: Tensor) -> Tensor:
        outputs: Tensor = self.model(self.normalized(pixels))
        return outputs

    def normalized(self, pixels: Tensor) -> Tensor:
        """What the net reads, (N, C, size, size), in the type of its weights."""
        images: Tensor = self.normalizer(sized(pixels, self.size))
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        weight = _weight(self.model)  # a net may have been moved or halved by itself
        return images.to(weight.device, weight.dtype).contiguous(memory_format=order)

    def outputs(self, pixels: Tensor) -> Tensor:
        """Outputs (N, K) in float64 on the CPU, of images on any device; in evaluation, whatever the mode."""
        return answered(self, pixels)


def answered(net: nn.Module, pixels: Tensor) -> Tensor:
    """What a module gives in evaluation mode, in float64 on the CPU; its mode stays as it was."""
    device = next((tensor.device for tensor in net.buffers()), torch.device("cpu"))
    with torch.inference_mode(), evaluating(net):
        outputs: Tensor = net(pixels.to(device))
    return outputs.double().cpu()


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of a net's first floating-point weight; float32 for a net without any."""
    return _weight(model).dtype


def _weight(model: nn.Module) -> Tensor:
    return next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
