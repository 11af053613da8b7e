"""Label-guided crops: a first net's responses to an image's class say where to crop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from convsmith.catalog import Place, technique
from convsmith.data.area_crop import boxed, boxes
from convsmith.errors import UserError, shown


def read_maps(file: str | Path, files: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Read response maps that :func:`convsmith.response_maps` wrote, and find the map of each row.

    Args:
        file: an .npz with ``files`` (M,) and ``maps`` (M, h, w).
        files: the images by row of the store.

    Returns:
        maps (M, h, w) float32, and for each row the map's number, -1 where there is none, (N,).

    Raises:
        UserError: if the file can't be read, or none of the images is in it.
    """
    place = Path(file).expanduser()
    try:
        with np.load(place, allow_pickle=False) as content:
            names, maps = content["files"].tolist(), torch.from_numpy(content["maps"]).float()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{shown(place)} has no response maps ({type(error).__name__}); make them with: "
            f"`cs.response_maps(RUN, 'maps.npz')`"
        ) from None
    number = {name: n for n, name in enumerate(names)}
    which = torch.tensor([number.get(str(path.absolute()), -1) for path in files])
    if (which < 0).all():
        raise UserError(
            f"{shown(place)} has maps of other images than these; make them from a run on this DATA"
        )
    return maps, which


@technique(
    "augmentation",
    "guided_crop",
    source="the notes, chapter 5 (supervised augmentation); Hikvision's entry to ImageNet 2016 (scenes)",
    chapter="5 数据扩充 augmentation",
    use="scene-like images, in which a random crop often misses what makes the class",
)
class GuidedCrop:
    """As ``area_crop``, around places drawn by how much a first net responded to the class there.

    A place is drawn with probability ~ response^focus; the part's center is put there, as far as the
    part stays within the image. Images without a map, or without a response, are cropped anywhere.

    Args:
        size: side of the images in pixels.
        files: the images by row of the store.
        maps: .npz file of :func:`convsmith.response_maps`.
        scale: least and largest share of the area, in (0, 1].
        ratio: least and largest width : height of the part.
        focus: 0 draws all places alike; the larger, the closer to the strongest response.

    Raises:
        UserError: if there are no such maps.
    """

    def __init__(
        self,
        size: int,
        files: Sequence[Path],
        maps: Annotated[str, Place()] | None = None,
        scale: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] = (0.25, 1.0),
        ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (3 / 4, 4 / 3),
        focus: Annotated[float, Ge(0)] = 1.0,
    ) -> None:
        if maps is None:
            raise UserError(
                "guided_crop needs maps: make them with `cs.response_maps(RUN, 'maps.npz')`, then take "
                "`data.augment.guided_crop.maps=maps.npz`"
            )
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.maps, self.which = read_maps(maps, files)
        self.focus = focus

    def matrices(self, n: int, generator: torch.Generator, rows: Tensor) -> Tensor:
        sides = boxes(n, self.size, self.scale, self.ratio, generator)
        centers = self._centers(rows, generator)
        corners = (centers - sides / 2).round()
        return boxed(sides, torch.minimum(corners.clamp_min(0), self.size - sides), self.size)

    def _centers(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Places (n, 2) in pixels from the upper left corner."""
        height, width = self.maps.shape[1:]
        which = self.which[rows]
        weights = self.maps[which.clamp_min(0)].flatten(1).clamp_min(0)
        known = (which >= 0) & (weights.amax(1) > 0)
        # relative to the largest: powers of large numbers would overflow
        weights = (weights / weights.amax(1, keepdim=True).clamp_min(1e-12)) ** self.focus
        weights = torch.where(known[:, None], weights, torch.ones_like(weights))
        cells = torch.multinomial(weights, 1, generator=generator).squeeze(1)
        within = torch.rand(len(rows), 2, generator=generator)
        places = torch.stack([cells % width, cells // width], 1) + within
        return places / torch.tensor([width, height]) * self.size
