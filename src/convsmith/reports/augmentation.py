"""The page that shows augmented images as the net gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convsmith import catalog
from convsmith.data.batches import Batch, Split
from convsmith.data.dataset import Dataset
from convsmith.errors import shown
from convsmith.recipe import Recipe
from convsmith.reports.fill import fill
from convsmith.reports.inspection import png

# Pictures smaller than this are enlarged, pixel by pixel.
SIDE = 96


def render(dataset: Dataset, recipe: Recipe, reason: str, part: Split, pictures: Sequence[Batch]) -> str:
    """Render the page as one HTML file.

    Args:
        dataset: of the images.
        recipe: whose augmentation is shown.
        reason: why it was chosen, if the recipe left it open.
        part: the images shown.
        pictures: one batch of them for each epoch.
    """
    originals = next(part.store.stream([part.rows])).cpu().numpy()
    normalizer = dataset.normalizer
    mean = normalizer.mean.permute(2, 0, 1) if normalizer.mean.ndim == 3 else normalizer.mean[:, None, None]
    seen = [batch.images * normalizer.std[:, None, None] + mean for batch in pictures]
    scale = max(1, SIDE // dataset.stored)
    rows = [
        {
            "name": _name(dataset, int(row)),
            "original": png(originals[number], scale),
            "label": _target(dataset, part.targets[number]),
            "pictures": [
                (png(_bytes(images[number]), scale), _target(dataset, batch.targets[number]))
                for images, batch in zip(seen, pictures)
            ],
        }
        for number, row in enumerate(part.rows.tolist())
    ]
    return fill(
        "augmentation.html",
        path=shown(str(recipe.data.path)),
        size=dataset.size,
        crops=recipe.data.crops,
        reason=reason,
        techniques=[_described(name, arguments) for name, arguments in (recipe.data.augment or {}).items()],
        rows=rows,
    )


def _bytes(image: Tensor) -> npt.NDArray[np.uint8]:
    """(C, H, W) in [0, 255] to (H, W, C) uint8."""
    return image.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _name(dataset: Dataset, row: int) -> str:
    path = dataset.items[row].path
    return shown(f"{path.parent.name}/{path.name}")


def _target(dataset: Dataset, target: Tensor) -> str:
    """The class, or the classes of a mixture with their shares."""
    if dataset.encoding is not None:
        return ", ".join(f"{value:.3g}" for value in target.flatten().tolist()[:4])
    if target.ndim == 0:
        return dataset.classes[int(target)]
    shares = sorted(zip(target.tolist(), dataset.classes), reverse=True)[:2]
    return " + ".join(f"{label} {100 * share:.0f}%" for share, label in shares if share > 0.005)


def _described(name: str, arguments: Any) -> dict[str, str]:
    card = catalog.card("augmentation", name)
    words = ", ".join(f"{key} {value}" for key, value in (arguments or {}).items())
    return {"name": name, "arguments": words, "summary": card.summary.replace("``", ""), "use": card.use}
