"""Exchange the 3x3 convolutions of chosen stages of a finished net, also a pretrained one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from convsmith import catalog
from convsmith.catalog import Spec
from convsmith.errors import UserError
from convsmith.nn.computed import computed, forms_of
from convsmith.nn.stages import stages as stages_of


def swap_convolutions(
    model: nn.Module, spec: Spec, shape: tuple[int, int, int], stages: Sequence[int] = (-1,)
) -> list[str]:
    """Replace the 3x3 convolutions of some stages by the sort that ``spec`` names; weights go over.

    Strides, groups and biases stay, and so does the size of the maps. With ``deformable`` the net computes
    the same as before, since its offsets start at zero; with ``dilated`` the parameters are the same, and
    see further. Convolutions that aren't torch's own (timm's "same" padding, standardized weights), are
    dilated already, or pad otherwise than to keep the size stay as they are.

    Args:
        model: changed in place; maps of its layers are found by running one image through.
        spec: name, or {name: {argument: value}}.
        shape: of an image (C, H, W).
        stages: numbers of those stages (maps of one size) that have such convolutions, from the image on: 1
            is the first, -1 the last.

    Returns:
        names of the layers replaced.

    Raises:
        UserError: if the net has no such convolution or no such stage, or one whose weight is parametrized,
            which would be lost.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(50, 2))
    >>> swap_convolutions(net, {"dilated": {"dilation": 2}}, (1, 5, 5)), net[0].dilation
    (['0'], (2, 2))
    """
    found = _by_stage(model, shape)
    if not found:
        raise UserError(
            "this net has no plain 3x3 convolution that keeps the size of its maps, so none can be "
            "exchanged; take another net, or leave the convolution as it is"
        )
    for number in stages:
        if not 1 <= abs(number) <= len(found):
            raise UserError(
                f"stages={list(stages)}: this net has {len(found)} stages with 3x3 convolutions; give "
                f"numbers from 1 to {len(found)}, or from -1, the last, to -{len(found)}"
            )
    chosen = {number - 1 if number > 0 else number + len(found) for number in stages}
    names = [name for number in sorted(chosen) for name in found[number]]
    # All are made before the first is put in, so that a refusal leaves the net as it was.
    news = {name: _replacement(name, spec, model.get_submodule(name)) for name in names}
    for name, new in news.items():
        model.set_submodule(name, new)
    return names


def _by_stage(model: nn.Module, shape: tuple[int, int, int]) -> list[list[str]]:
    """Names of the convolutions that can be exchanged, by stage; stages without any are left out."""
    cut = [
        [name for name in stage.modules if _is_plain(model.get_submodule(name))]
        for stage in stages_of(model, shape)
    ]
    return [names for names in cut if names]


def _is_plain(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        # A subclass with a forward of its own does something else beside.
        and type(layer).forward is nn.Conv2d.forward
        and (layer.kernel_size, layer.padding, layer.dilation) == ((3, 3), (1, 1), (1, 1))
        and layer.stride[0] == layer.stride[1]
        and layer.padding_mode == "zeros"
    )


@torch.no_grad()
def _replacement(name: str, spec: Spec, old: nn.Module) -> nn.Module:
    assert isinstance(old, nn.Conv2d)
    for key in computed(old):
        raise UserError(
            f"{name}: the {key} of this convolution is computed by {forms_of(old, key)}, which another "
            f"convolution would lose; exchange layers before they are parametrized"
        )
    shape = {"in_channels": old.in_channels, "out_channels": old.out_channels, "kernel_size": 3}
    more = {"stride": old.stride[0], "groups": old.groups, "bias": old.bias is not None}
    new: nn.Module = catalog.build("convolution", spec, **shape, **more)
    new.to(old.weight.device, old.weight.dtype)
    for key, mine in old.named_parameters():
        theirs = new.get_parameter(key) if key in dict(new.named_parameters()) else None
        if theirs is None or theirs.shape != mine.shape:
            (word, _) = catalog.split("convolution", spec)
            raise UserError(
                f"{name}: convolution {word} has no {key} of {tuple(mine.shape)}, so the net's weights "
                f"can't go over; it must take in_channels, out_channels, kernel_size, stride, bias, groups"
            )
        theirs.copy_(mine)
        theirs.requires_grad_(mine.requires_grad)
    return new.train(old.training)
