"""Show images through their matrices: by indexing, by resizing boxes, or by one interpolation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Corners of boxes are whole pixels but for float32's rounding of the matrices' products.
WHOLE = 1e-3


def resample(images: Tensor, matrices: Tensor, size: int | None = None) -> Tensor:
    """Resample each image through its matrix in the cheapest exact way; outside is 0.

    Mirrors and whole-pixel shifts are indexed, exactly. Boxes of whole pixels within the image are cut
    out and resized (bilinear, antialiased), on the CPU. Anything else is interpolated once, bilinearly.

    Args:
        images: (N, H, W, C) uint8.
        matrices: (N, 3, 3) float32 on the CPU, in the images' pixels; see :mod:`convsmith.data.geometry`.
        size: side of the result in pixels, for square images; None: as large as they are.

    Returns:
        (N, H, W, C), uint8 where nothing was interpolated, else float32.
    """
    out = (size, size) if size is not None else (images.shape[1], images.shape[2])
    return View.of(images, matrices, out)(images)


@dataclass(frozen=True)
class View:
    """How a batch is resampled: the matrices, and for each one of WAYS."""

    matrices: Tensor
    ways: Tensor
    out: tuple[int, int]

    @classmethod
    def of(cls, images: Tensor, matrices: Tensor, out: tuple[int, int]) -> View:
        """Of images (N, H, W, C) through matrices in their pixels, with ``out``, height and width, made."""
        height, width = images.shape[1:3]
        if out != (height, width):
            matrices = matrices @ torch.diag(torch.tensor([width / out[1], height / out[0], 1]))
        ways = _ways(matrices, (height, width), out, boxes=images.device.type == "cpu")
        return cls(matrices, ways, out)

    def __getitem__(self, part: slice) -> View:
        return View(self.matrices[part], self.ways[part], self.out)

    def __call__(self, images: Tensor) -> Tensor:
        kinds = sorted(set(self.ways.tolist()))
        if len(kinds) == 1:
            return WAYS[kinds[0]](images, self.matrices, self.out)
        # Image by image, so that a result doesn't depend on the other images of the batch.
        result = torch.empty(len(images), *self.out, images.shape[3], device=images.device)
        for kind in kinds:
            rows = (self.ways == kind).nonzero().flatten()
            there = rows.to(images.device)
            result[there] = WAYS[kind](images[there], self.matrices[rows], self.out).float()
        return result


def _ways(matrices: Tensor, image: tuple[int, int], out: tuple[int, int], *, boxes: bool) -> Tensor:
    """How each image is to be shown: 0 moved, 1 cut, 2 interpolated; (N,)."""
    straight = (matrices[:, 0, 1] == 0) & (matrices[:, 1, 0] == 0)
    if not straight.any():
        return torch.full((len(matrices),), 2)
    signs, shifts = matrices[:, [0, 1], [0, 1]].abs(), matrices[:, :2, 2]
    moved = straight & (signs == 1).all(1) & (shifts == shifts.round()).all(1) & (image == out)
    ways = torch.where(moved, 0, 2)
    if boxes:
        edges = _edges(matrices, image, out)
        whole = ((edges - edges.round()).abs() < WHOLE).all(1)
        sides = torch.tensor([*image[::-1], *image[::-1]])
        inside = ((edges > -WHOLE) & (edges < sides + WHOLE)).all(1)
        larger = (edges[:, 2:] - edges[:, :2] > 0.5).all(1)
        ways[straight & ~moved & whole & inside & larger] = 1
    return ways


def _edges(matrices: Tensor, image: tuple[int, int], out: tuple[int, int]) -> Tensor:
    """Left, upper, right and lower edge of the box that each straight matrix shows, (n, 4) pixels.

    ``image`` and ``out`` are height and width of what is given and of what is made.
    """
    half = matrices[:, [0, 1], [0, 1]].abs() * torch.tensor(out[::-1]) / 2
    middle = matrices[:, :2, 2] + torch.tensor(image[::-1]) / 2
    return torch.cat([middle - half, middle + half], 1)


def move(images: Tensor, matrices: Tensor, out: tuple[int, int] | None = None) -> Tensor:
    """Apply mirrors and whole-pixel shifts by indexing: exact, without interpolation; outside is 0.

    Args:
        images: (N, H, W, C), any dtype and device.
        matrices: (N, 3, 3) with -1 or 1 on the diagonal and integer shifts in the last column.
        out: nothing but the images' own height and width.

    >>> row = torch.tensor([1, 2, 3]).view(1, 1, 3, 1)
    >>> move(row, torch.tensor([[[1.0, 0, 1], [0, 1, 0], [0, 0, 1]]])).flatten()
    tensor([2, 3, 0])
    """
    n, height, width, channels = images.shape
    matrices = matrices.to(images.device)
    xs = _sources(matrices[:, 0, 0], matrices[:, 0, 2], width)
    ys = _sources(matrices[:, 1, 1], matrices[:, 1, 2], height)
    inside = ((xs >= 0) & (xs < width))[:, None, :] & ((ys >= 0) & (ys < height))[:, :, None]
    place = ys.clamp(0, height - 1)[:, :, None] * width + xs.clamp(0, width - 1)[:, None, :]
    place = place + torch.arange(n, device=images.device)[:, None, None] * (height * width)
    moved = images.reshape(-1, channels).index_select(0, place.flatten()).view(images.shape)
    return moved * inside[..., None]


def _sources(sign: Tensor, shift: Tensor, length: int) -> Tensor:
    """For each output place of an axis the input place that it shows, (N, length)."""
    center = (length - 1) / 2
    out = torch.arange(length, device=sign.device) - center
    return (sign[:, None] * out + shift[:, None] + center).round().long()


def cut(images: Tensor, matrices: Tensor, out: tuple[int, int]) -> Tensor:
    """Cut boxes of whole pixels out and resize them, bilinear and antialiased.

    Args:
        images: (N, H, W, C) uint8 on the CPU.
        matrices: (N, 3, 3), straight ones whose boxes have whole corners within the image.
        out: height and width of the result.

    Returns:
        (N, *out, C) uint8.
    """
    # A channel's values lie 3 apart throughout: torch resizes bytes in this format by vector instructions.
    planes = images.permute(0, 3, 1, 2)
    result = images.new_empty(len(images), *out, images.shape[3])
    boxes = _edges(matrices, (images.shape[1], images.shape[2]), out).round().int().tolist()
    mirrored = (matrices[:, [0, 1], [0, 1]] < 0).tolist()
    # One by one: boxes differ in size, and two threads were no quicker.
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        box = planes[number : number + 1, :, y0:y1, x0:x1]
        sized = F.interpolate(box, out, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        axes = [axis for axis, own in zip((1, 0), mirrored[number]) if own]
        result[number] = sized.flip(axes) if axes else sized
    return result


def interpolate(images: Tensor, matrices: Tensor, out: tuple[int, int]) -> Tensor:
    """Bilinear interpolation at the places that the matrices name; outside is 0.

    Args:
        images: (N, H, W, C).
        matrices: (N, 3, 3).
        out: height and width of the result.

    Returns:
        (N, *out, C) float32, planar in memory.

    >>> row = torch.tensor([1.0, 3.0, 3.0]).view(1, 1, 3, 1)
    >>> interpolate(row, torch.tensor([[[1.0, 0, 0.5], [0, 1, 0], [0, 0, 1]]]), (1, 3)).flatten()
    tensor([2.0000, 3.0000, 1.5000])
    """
    matrices = matrices.to(images.device)
    ys, xs = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in out)
    grid = torch.empty(len(images), *out, 2, device=images.device)
    for axis, side in enumerate((images.shape[2], images.shape[1])):
        # grid_sample counts half sides from the center
        row, column, shift = (matrices[:, axis, place, None] * (2 / side) for place in range(3))
        torch.add((row * xs)[:, None, :], (column * ys + shift)[:, :, None], out=grid[..., axis])
    planes = images.permute(0, 3, 1, 2).float()
    return F.grid_sample(planes, grid, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


# By the numbers that _ways gives.
WAYS = (move, cut, interpolate)
