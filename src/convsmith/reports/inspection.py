"""Pictures of what a net has learned: kernels, maps, what excites each channel, dead channels."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor, nn

from convsmith.nn.extent import fields
from convsmith.nn.receptive_field import Field
from convsmith.nn.responses import Excitement, captured
from convsmith.nn.selectivity import Selectivity
from convsmith.nn.slopes import learned_slopes
from convsmith.reports import plots
from convsmith.reports.fill import fill

Pixels = npt.NDArray[np.uint8]
CHANNELS, TOP, KERNELS = 8, 6, 64


@dataclass(frozen=True)
class Pictured:
    """An image by its name and as the net gets it: (H, W, C) uint8, and normalized (C, H, W)."""

    name: str
    pixels: Pixels
    normalized: Tensor


def png(pixels: Pixels, scale: int = 1) -> str:
    """Pixels (H, W) or (H, W, C) as a data URL, enlarged without smoothing."""
    array = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    image = Image.fromarray(array)
    if scale > 1:
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def tiles(pictures: Sequence[Pixels], columns: int, gap: int = 1) -> Pixels:
    """Pictures of one size side by side, row by row, on white.

    >>> tiles([np.zeros((2, 2, 3), np.uint8)] * 3, columns=2).shape
    (7, 7, 3)
    """
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (gap + (number // columns) * (height + gap), gap + (number % columns) * (width + gap))
        sheet[y : y + height, x : x + width] = picture if picture.ndim == 3 else picture[:, :, None]
    return sheet


def kernels(weight: Tensor, count: int = KERNELS) -> Pixels:
    """The first ``count`` kernels (O, I, kH, kW) as one picture; grey is zero.

    Kernels over three channels in their colors, others as the input channel that weighs most. Kernels of one
    pixel, and fully connected layers (O, I), are a row each with a pixel for every input.
    """
    own = weight.detach().float().cpu()[:count]
    if own[0, 0].numel() == 1:
        rows = own.flatten(1) / own.flatten(1).abs().amax(1, keepdim=True).clamp_min(1e-12)
        grey: Pixels = (rows * 127 + 128).clamp(0, 255).byte()[:, :, None].expand(-1, -1, 3).numpy()
        return grey
    if own.shape[1] != 3:
        strongest = own.flatten(2).norm(dim=2).argmax(1)
        own = own[torch.arange(len(own)), strongest][:, None]
    own = own / own.flatten(1).abs().amax(1).clamp_min(1e-12)[:, None, None, None]
    bytes_ = (own * 127 + 128).clamp(0, 255).byte().permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    return tiles(list(bytes_), columns=min(16, len(bytes_)))


def heat(values: Tensor) -> Pixels:
    """A map (H, W) from its zero (dark) to its largest value (bright)."""
    import matplotlib as mpl

    share = (values / values.max().clamp_min(1e-12)).clamp(0, 1).numpy()
    colored: Pixels = (mpl.colormaps["viridis"](share)[..., :3] * 255).astype(np.uint8)
    return colored


def maps(model: nn.Module, layers: Sequence[str], picture: Pictured) -> dict[str, Pixels]:
    """For each layer its most excited channels' maps for one image."""
    with torch.inference_mode(), captured(model, layers) as seen:
        model.eval()(picture.normalized[None])
    sheets = {}
    for name, output in seen.items():
        own = output[0].float().cpu()
        if own.ndim == 3:
            best = own.flatten(1).amax(1).topk(min(CHANNELS, len(own))).indices
            sheets[name] = tiles([heat(own[channel]) for channel in best.tolist()], CHANNELS)
    return sheets


def patch(pixels: Pixels, field: Field | None, place: tuple[int, int]) -> Pixels:
    """Cut out the receptive field of a unit at ``place`` of a map; the whole image if the field is larger."""
    height, width = pixels.shape[:2]
    box = []
    for at, side, axis in ((place[0], height, 0), (place[1], width, 1)):
        span = field.spans[axis] if field is not None else None
        if span is None or span.size >= side:
            box.append((0, side))
            continue
        first = int(min(max(0, at * span.stride + span.low), side - 1))
        last = int(max(min(side - 1, at * span.stride + span.high), first))
        box.append((first, last + 1))
    (top, bottom), (left, right) = box
    return pixels[top:bottom, left:right]


def exciting(
    excitement: Excitement, field: Field | None, pictures: Sequence[Pixels], side: int = 40
) -> list[dict[str, Any]]:
    """For the channels that respond most, the patches that excite them most, as pictures of one size."""
    order = excitement.values[:, 0].topk(min(CHANNELS, len(excitement.values))).indices
    rows = []
    for channel in order.tolist():
        patches = []
        for image, place in zip(excitement.images[channel].tolist(), excitement.places[channel].tolist()):
            own = patch(pictures[image], field, (place[0], place[1]))
            grey = own[:, :, 0] if own.shape[2] == 1 else own
            sized = Image.fromarray(grey).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
            patches.append(np.asarray(sized))
        value = float(excitement.values[channel, 0])
        rows.append({"channel": channel, "value": value, "picture": png(tiles(patches, TOP, gap=2))})
    return rows


def render(
    model: nn.Module,
    excitements: dict[str, Excitement],
    chosen: Sequence[str],
    pictured: Sequence[Pictured],
    sample: Sequence[Pixels],
    convolutions: Mapping[str, Tensor],
    selective: Mapping[str, Selectivity],
    classes: Sequence[str],
) -> str:
    """Render the report's part about the net's responses, as HTML.

    Args:
        model: the net.
        excitements: of every activation layer, over the sample.
        chosen: the layers shown in detail.
        pictured: images whose maps are shown.
        sample: pixels of the images that the excitements are over.
        convolutions: weights whose kernels are shown, by layer.
        selective: how far the units of a layer answer to one class.
        classes: names of the classes.
    """
    seen = fields(model, chosen, pictured[0].normalized)
    zeros = {name: e.zero_share for name, e in excitements.items() if e.zero_share is not None}
    return fill(
        "inspection.html",
        kernels=[
            (name, tuple(w.shape), png(kernels(w), scale=_scale(w))) for name, w in convolutions.items()
        ],
        images=[
            {
                "name": picture.name,
                "picture": png(picture.pixels),
                "maps": [(name, png(sheet)) for name, sheet in maps(model, chosen, picture).items()],
            }
            for picture in pictured
        ],
        exciting=[
            (name, _described(seen.get(name)), exciting(excitements[name], seen.get(name), sample))
            for name in chosen
        ],
        layers=excitements,
        zero_plot=Markup(plots.shares(zeros)) if zeros else None,
        sample=len(sample),
        slopes=[(name, _range(own), len(own)) for name, own in learned_slopes(model).items()],
        extents=[
            (name, _range(own), selective.get(name))
            for name, e in excitements.items()
            if (own := e.image_share) is not None or name in selective
        ],
        preferred={name: favorites(own, classes) for name, own in selective.items()},
    )


def favorites(found: Selectivity, classes: Sequence[str]) -> dict[str, int]:
    """For each class the number of units that answer to it, if any do; most units first."""
    counts = torch.bincount(found.best[found.selective], minlength=len(classes)).tolist()
    order = sorted(range(len(counts)), key=lambda number: -counts[number])
    return {classes[number]: counts[number] for number in order if counts[number]}


def _range(values: Tensor | None) -> tuple[float, float, float] | None:
    """Mean, smallest and largest of the values that are finite; None if none is."""
    own = values[values.isfinite()] if values is not None else torch.empty(0)
    return (float(own.mean()), float(own.min()), float(own.max())) if len(own) else None


def _scale(weight: Tensor) -> int:
    """How many pixels of the page are one weight: a kernel is about 36 wide, a row at most 720."""
    return max(1, 36 // weight.shape[-1] if weight[0, 0].numel() > 1 else min(8, 720 // weight.shape[1]))


def _described(field: Field | None) -> str:
    sizes = [span.size for span in field.spans] if field is not None else [float("inf")]
    return (
        "all of the image" if float("inf") in sizes else "x".join(f"{size:g}" for size in sizes) + " pixels"
    )
