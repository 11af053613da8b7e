"""Layers by name: the one place where nets turn the names of activations, norms, ... into layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from convsmith import catalog
from convsmith.catalog import Spec


@dataclass(frozen=True)
class Parts:
    """Sections ``name`` or ``{name: {argument: value}}`` for each kind of layer that a net lets you choose.

    >>> Parts(activation="elu").act(8)
    ELU(alpha=1.0, inplace=True)
    """

    activation: Spec = "relu"
    norm: Spec = "none"
    pooling: Spec = "max"
    dropout: Spec = "none"
    neck: Spec = "none"
    convolution: Spec = "plain"
    global_pooling: Spec = "average"

    def act(self, channels: int) -> nn.Module:
        return self._built("activation", channels=channels)

    def normalize(self, channels: int) -> nn.Module:
        return self._built("norm", channels=channels)

    def pool(
        self,
        channels: int,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
    ) -> nn.Module:
        window = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        return self._built("pooling", channels=channels, **window)

    def drop(self) -> nn.Module:
        return self._built("dropout")

    def before_classifier(self, channels: int) -> nn.Module:
        return self._built("neck", channels=channels)

    def unit(self, conv: nn.Module, channels: int, *, respond: bool = False) -> list[nn.Module]:
        """A convolution with its normalization and activation.

        Local response normalization, as in the papers, follows the activation, and only where the net
        says ``respond``.
        """
        act = self.act(channels)
        if catalog.split("norm", self.norm)[0] == "local_response":
            return [conv, act, *([self.normalize(channels)] if respond else [])]
        return [conv, *([self.normalize(channels)] if self.normalized else []), act]

    def convolve(self, width_in: int, width: int, stride: int = 1, bias: bool = True) -> nn.Module:
        """A 3x3 convolution of the chosen sort."""
        shape = {"in_channels": width_in, "out_channels": width, "kernel_size": 3}
        return self._built("convolution", **shape, stride=stride, bias=bias)

    def pool_all(self) -> nn.Module:
        return self._built("global_pooling")

    @property
    def normalized(self) -> bool:
        """Whether there is a normalization: convolutions before one need no bias."""
        return catalog.split("norm", self.norm)[0] != "none"

    def _built(self, kind: str, **given: object) -> nn.Module:
        layer: nn.Module = catalog.build(kind, getattr(self, kind), **given)
        return layer
