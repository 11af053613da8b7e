"""Responses of a net's units: their maps, how many are silent, and what excites them most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import UserError, nearest
from convsmith.nn.computed import named_layers
from convsmith.nn.extent import cells, fields, share_above_half
from convsmith.nn.manners import has_features
from convsmith.nn.receptive_field import Field
from convsmith.nn.silence import cuts_off, ends, saturated, silent
from convsmith.nn.swap import ACTIVATIONS


@contextmanager
def captured(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While open, each forward pass leaves the output of the named layers in the dictionary.

    Raises:
        UserError: if there is no such layer.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with captured(net, ["0"]) as seen: _ = net(torch.zeros(1, 2))
    >>> seen["0"].shape
    torch.Size([1, 3])
    """
    known = dict(named_layers(model))
    for name in layers:
        if name not in known or not name:
            raise UserError(f"the net has no layer {name!r}{nearest(name, [key for key in known if key])}")
    seen: dict[str, Tensor] = {}

    def note(name: str):  # type: ignore[no-untyped-def]
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = output.detach().clone()  # the next layer may work in place

        return hook

    handles = [known[name].register_forward_hook(note(name)) for name in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def activations(model: nn.Module) -> list[str]:
    """Names of the activation layers, in the order in which the net holds them.

    Sigmoids are gates in today's nets, and count where a net has no other activation.

    >>> activations(nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Sigmoid()))
    ['1']
    >>> activations(nn.Sequential(nn.Linear(1, 1), nn.Sigmoid()))
    ['1']
    """
    found = [name for name, layer in named_layers(model) if isinstance(layer, ACTIVATIONS)]
    return found or [name for name, layer in named_layers(model) if isinstance(layer, nn.Sigmoid)]


def rectifiers(model: nn.Module) -> list[str]:
    """Names of the activation layers whose units can be silent, see :func:`convsmith.nn.silence.cuts_off`.

    >>> rectifiers(nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Tanh()))
    ['1']
    """
    return [name for name in activations(model) if cuts_off(model.get_submodule(name))]


@dataclass
class Excitement:
    """The ``top`` images that excite each of a layer's C channels most, and how often it is silent.

    ``values`` (C, top) are the largest responses, ``images`` (C, top) the rows of the images that gave
    them, ``places`` (C, top, 2) where in the map (y, x). Of ``count`` responses, ``zeros`` are silent and
    ``close`` saturated; ``alive`` (C,) tells which channels ever responded. The first and last are counted
    for a layer that ``cuts`` off at zero, the other for one with ``bounds``. ``shares`` (C, top) of an image
    are those that :func:`convsmith.nn.extent.share_above_half` gives for the exciting ones, where the layer
    has maps; ``means`` (N, C) are over each image, ``lowest`` is the smallest response.
    """

    top: int
    cuts: bool = True
    bounds: tuple[float | None, float | None] | None = None
    values: Tensor = field(default_factory=lambda: torch.empty(0))
    images: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    places: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    zeros: int = 0
    close: int = 0
    count: int = 0
    alive: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    shares: Tensor = field(default_factory=lambda: torch.empty(0))
    parts: list[Tensor] = field(default_factory=list)
    lowest: float = math.inf
    shape: tuple[int, ...] = ()

    def add(self, output: Tensor, first: int, axes: tuple[Tensor, Tensor] | None = None) -> None:
        """Take in the responses (N, C, H, W) or (N, C) to the images ``first``, ``first + 1``, ...

        ``axes`` are the map's :func:`convsmith.nn.extent.cells`; by default all places count alike.
        """
        output = output.float().cpu()
        maps = output if output.ndim == 4 else output[:, :, None, None]
        self.shape = tuple(maps.shape[1:])
        none = silent(maps)
        self.zeros += int(none.sum())
        if self.bounds is not None:
            self.close += int(saturated(maps, self.bounds).sum())
        self.count += maps.numel()
        best, flat = maps.flatten(2).max(2)
        places = torch.stack([flat // maps.shape[3], flat % maps.shape[3]], 2)
        self.parts.append(maps.mean((2, 3)))
        self.lowest = min(self.lowest, float(maps.min()))
        even = tuple(cells(None, places_, 1) for places_ in maps.shape[2:])
        share = share_above_half(maps, *(axes or even))
        rows = torch.arange(first, first + len(maps))[:, None].expand_as(best)
        alive = (~none).any(0).flatten(1).any(1)
        if not len(self.alive):
            self.alive, self.values = alive, best.T[:, :0]
            self.images, self.places = rows.T[:, :0], places.transpose(0, 1)[:, :0]
            self.shares = share.T[:, :0]
        self.alive = self.alive | alive
        values = torch.cat([self.values, best.T], 1)
        images = torch.cat([self.images, rows.T], 1)
        everywhere = torch.cat([self.places, places.transpose(0, 1)], 1)
        self.values, order = values.topk(min(self.top, values.shape[1]), 1)
        self.images = images.gather(1, order)
        self.shares = torch.cat([self.shares, share.T], 1).gather(1, order)
        self.places = everywhere.gather(1, order[:, :, None].expand(-1, -1, 2))

    @property
    def zero_share(self) -> float | None:
        """Share of responses that are cut off to zero, in [0, 1]; None where the layer cuts none off."""
        return self.zeros / max(1, self.count) if self.cuts else None

    @property
    def image_share(self) -> Tensor | None:
        """Share of the image over which each unit responds, (C,), a mean over those that excite it most.

        nan for a unit that gives nothing above zero; None for a layer without maps.
        """
        return self.shares.nanmean(1) if self.shape[1] * self.shape[2] > 1 else None

    @property
    def means(self) -> Tensor:
        """Mean response of each unit over each image, (N, C)."""
        return torch.cat(self.parts)

    @property
    def saturated_share(self) -> float | None:
        """Share of responses near the end of the layer's range, in [0, 1]; None without a bound."""
        return self.close / max(1, self.count) if self.bounds is not None else None

    @property
    def dead(self) -> int | None:
        """Channels that never responded; None where the layer cuts nothing off."""
        return int((~self.alive).sum()) if self.cuts else None


def watch(
    model: nn.Module, layers: Sequence[str], batches: Iterator[Tensor], top: int = 5
) -> dict[str, Excitement]:
    """Run normalized images (N, C, H, W) through ``model`` and note what excites each channel of each layer.

    Raises:
        UserError: if there is no such layer.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    >>> watch(net, ["1"], iter([torch.rand(4, 1, 3, 3)]), top=2)["1"].values.shape
    torch.Size([2, 2])
    """
    found: dict[str, Excitement] = {}
    was_training = model.training
    first = 0
    try:
        model.eval()
        with torch.inference_mode(), captured(model, layers) as seen:
            own = {name: model.get_submodule(name) for name in layers}
            found = {name: Excitement(top, cuts_off(layer), ends(layer)) for name, layer in own.items()}
            for images in batches:
                if not first:
                    with torch.inference_mode(False):  # where no operation could be followed
                        known = fields(model, layers, images[0])
                    seen.clear()
                model(images)
                for name, output in seen.items():
                    found[name].add(output, first, _axes(known.get(name), output, images))
                first += len(images)
    finally:
        model.train(was_training)
    return found


def _axes(field: Field | None, output: Tensor, images: Tensor) -> tuple[Tensor, Tensor] | None:
    if field is None or output.ndim != 4:
        return None
    y, x = (cells(field.spans[axis], output.shape[2 + axis], images.shape[2 + axis]) for axis in (0, 1))
    return y, x


def class_responses(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Class activation maps: Grad-CAM on the last maps before the classifier (Selvaraju et al. 2017).

    The maps that the classifier reads, each weighted by the mean gradient of the class's score, summed,
    and cut off below 0. For global average pooling before a linear classifier these are the class
    activation maps of Zhou et al. 2016, over the number of places.

    Args:
        model: with timm's ``forward_features`` and ``forward_head``.
        images: normalized, (N, C, H, W).
        target: classes, (N,).

    Returns:
        (N, h, w), >= 0.

    Raises:
        UserError: if the net's last features are no maps, or it doesn't give them.
    """
    if not has_features(model):
        raise UserError(
            f"{type(model).__name__} doesn't give the maps before its classifier, so no response maps; give "
            f"it timm's methods forward_features, forward_head and get_classifier"
        )
    net: Any = model.eval()
    with torch.no_grad():
        maps = net.forward_features(images)
    if maps.ndim != 4:
        raise UserError("this net has no maps before its classifier, so no response maps; take a ConvNet")
    maps = maps.detach().requires_grad_()
    with torch.enable_grad():
        scores = net.forward_head(maps).gather(1, target[:, None])
        (slopes,) = torch.autograd.grad(scores.sum(), maps)
    responses: Tensor = (slopes.mean((2, 3), keepdim=True) * maps.detach()).sum(1).clamp_min(0)
    return responses
