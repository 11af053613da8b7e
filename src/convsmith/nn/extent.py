"""The share of an image that a unit responds to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.nn.probe import After, probe
from convsmith.nn.receptive_field import Field, Follow, Span


def fields(model: nn.Module, layers: Sequence[str], image: Tensor) -> dict[str, Field]:
    """The receptive field of each layer for images like ``image`` (C, H, W)."""
    own = image[None].detach().clone()
    follow = Follow(own)
    found: dict[str, Field] = {}

    def noting(name: str) -> After:
        def note(_: nn.Module, inputs: Any, output: Tensor) -> None:
            field = follow.of(output)
            if field is not None:
                found[name] = field

        return note

    probe(model, own, after={name: noting(name) for name in layers}, within=follow)
    return found


def cells(span: Span | None, places: int, side: int) -> Tensor:
    """The share of an axis that lies nearest to the center of each place's receptive field.

    The shares sum to 1: what lies beyond the outermost centers belongs to the outermost places. Where all of
    the image counts for each place, every place has the same share.

    Args:
        span: of the map along the axis.
        places: of the map.
        side: of the image, in pixels.

    Returns:
        (places,), in [0, 1].

    >>> cells(Span(stride=4, low=0, high=3), 2, 8).tolist()
    [0.5, 0.5]
    >>> cells(Span(stride=1, low=-2, high=2), 4, 8).tolist()
    [0.125, 0.125, 0.125, 0.625]
    """
    if span is None or not all(map(math.isfinite, (span.stride, span.low, span.high))):
        return torch.full((places,), 1 / places)
    # The edges of pixel i are i and i + 1.
    centers = torch.arange(places) * span.stride + (span.low + span.high + 1) / 2
    between = ((centers[1:] + centers[:-1]) / 2).clamp(0, side)
    edges = torch.cat([torch.zeros(1), between, torch.full((1,), float(side))])
    return edges.diff() / side


def share_above_half(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of each image, the share over which a unit's response is more than half of its largest one there.

    The map is laid over the image at the centers of its receptive fields, each pixel taking the nearest
    place's response. (Zeiler & Fergus 2014 show where a unit responds; Bau et al. 2017 lay maps over images
    so, bilinearly, and cut at a quantile that gives all units the same share. Half of the maximum lets
    shares differ.)

    Args:
        maps: responses (N, C, h, w).
        rows: what :func:`cells` gives along y, (h,).
        columns: along x, (w,).

    Returns:
        (N, C) in [0, 1]; nan where a unit gives nothing above zero.

    >>> ramp = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    >>> share_above_half(ramp, torch.ones(1), torch.full((4,), 0.25))
    tensor([[0.5000]])
    """
    largest = maps.amax((2, 3), keepdim=True)
    share = torch.einsum("nchw,h,w->nc", (maps > largest / 2).float(), rows, columns)
    return share.masked_fill(largest[:, :, 0, 0] <= 0, torch.nan)
