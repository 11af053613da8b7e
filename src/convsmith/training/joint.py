"""Selective joint fine-tuning: learn the target task together with the most similar source images."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from convsmith import recipe as recipes
from convsmith.catalog import Place, technique
from convsmith.data.batches import Batches, Split
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.nn.manners import features
from convsmith.nn.patterns import gabor
from convsmith.training.finetune import AllStages, Pace

BINS = 16
# Wavelengths of the Gabor filters in pixels, and the number of directions of each (as Ge & Yu).
WAVELENGTHS, DIRECTIONS = (3.0, 4.5, 6.0, 9.0), 6


@technique(
    "finetuning",
    "joint",
    source="Ge & Yu 2017, Borrowing treasures from the wealthy",
    chapter="10 网络训练 training",
    use="few images unlike the source's, and the source's images at hand",
)
class Joint:
    """Learn the target task together with the task of the most similar source images.

    Args:
        source: folder, CSV or built-in name of the source's images.
        neighbors: source images chosen for each training image.
        weight: of the source's cross-entropy in the loss.
        decay: of the stages' rates, as in ``all_stages``.

    >>> [pace.scale for pace in Joint("digits", decay=0.5)(3)]
    [0.25, 0.5, 1.0]
    """

    def __init__(
        self,
        source: Annotated[str, Place()] = "",
        neighbors: Annotated[int, Ge(1)] = 20,
        weight: Annotated[float, Gt(0)] = 1.0,
        decay: Annotated[float, Gt(0), Le(1)] = 0.7,
    ) -> None:
        self.source = source
        self.neighbors = neighbors
        self.weight = weight
        self.decay = decay

    def __call__(self, stages: int) -> list[Pace]:
        return AllStages(self.decay)(stages)

    @property
    def terms(self) -> dict[str, dict[str, Any]]:
        """Sections of the objective for the second task."""
        options = {"source": self.source, "neighbors": self.neighbors, "weight": self.weight}
        return {"source_task": options}


@technique(
    "term",
    "source_task",
    source="Ge & Yu 2017, Borrowing treasures from the wealthy",
    chapter="10 网络训练 training",
    use="what finetune joint adds: a second task on images that look like the target's",
)
class SourceTask(nn.Module):
    """``weight`` times the cross-entropy of a second head on images of a source, drawn anew for each batch.

    The source images are those nearest to the target's. The term reads the ``model`` alone, and is 0 in
    evaluation. Draws come from torch's global generator, which the loop seeds for every batch.

    Args:
        dataset: of the target.
        num_features: D, what the heads read.
        batch_size: source images a step.
        device: where batches are made.
        seed: of the source's split.
        source: folder, CSV or built-in name of the source's images.
        neighbors: source images chosen for each training image.
        weight: of the term.

    Raises:
        UserError: if the source isn't named, can't be read, has no classes, or has other channels.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_features: int,
        batch_size: int,
        device: torch.device,
        seed: int,
        source: Annotated[str, Place()] = "",
        neighbors: Annotated[int, Ge(1)] = 20,
        weight: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__()
        given = _source_images(source, dataset, seed)
        train = given.train
        chosen = nearest(described(dataset.train), described(train), neighbors)
        few = replace(train, rows=train.rows[chosen], targets=train.targets[chosen])
        self.images = Batches(few, dataset.normalizer, batch_size=batch_size, device=device, seed=seed)
        self.batch_size = batch_size
        self.weight = weight
        self.head = nn.Linear(num_features, len(given.classes))
        self.findings = (
            Finding(
                seen=f"{len(chosen):,} of {len(train):,} source images are learned beside the target's, the "
                f"{neighbors} nearest to each by their responses to Gabor waves",
                means="the first layers see more images of the target's texture than there are in the target",
                why="few images alone would be memorized",
                source="Ge & Yu 2017",
            ),
        )

    def forward(self, model: nn.Module) -> Tensor:
        if not self.training:
            return self.head.weight.new_zeros(())
        places = torch.randint(len(self.images.split), (self.batch_size,))
        batch = self.images.at(places)
        vectors = features(model, batch.images)
        return self.weight * F.cross_entropy(self.head(vectors), batch.targets)


def _source_images(source: str, dataset: Dataset, seed: int) -> Dataset:
    if not source:
        raise UserError("finetune joint needs the source's images: `train.finetune.joint.source=FOLDER`")
    found = open_data(recipes.Data(path=source, size=dataset.size), seed=seed)
    if found.encoding is not None or found.channels != dataset.channels:
        raise UserError(
            f"{shown(source)} can't be learned beside {dataset.channels}-channel images: it has "
            f"{'numbers' if found.encoding is not None else f'{found.channels} channels'}"
        )
    return found


def described(split: Split) -> Tensor:
    """Compute histograms (N, filters, bins) of each image's responses to Gabor filters, each summing to 1."""
    filters = torch.stack(
        [
            gabor(11, 180 * turn / DIRECTIONS, wavelength=length).float()
            for length in WAVELENGTHS
            for turn in range(DIRECTIONS)
        ]
    )
    filters = filters - filters.mean((1, 2), keepdim=True)
    filters = filters / filters.flatten(1).norm(dim=1)[:, None, None]
    edges = torch.linspace(-2, 2, BINS - 1)
    found = []
    plain = split.store.stream(list(torch.split(split.rows, 256)))
    for pixels in plain:
        grey = pixels.float().mean(3, keepdim=True).permute(0, 3, 1, 2)
        # Normalize each image's contrast, so that brightness doesn't change the histogram.
        grey = (grey - grey.mean((2, 3), keepdim=True)) / (grey.std((2, 3), keepdim=True) + 1)
        responses = F.conv2d(F.pad(grey, (5, 5, 5, 5), mode="reflect"), filters[:, None]).flatten(2)
        bins = torch.bucketize(responses.contiguous(), edges)
        counts = torch.zeros(*bins.shape[:2], BINS).scatter_add_(2, bins, torch.ones_like(responses))
        found.append(counts / responses.shape[2])
    return torch.cat(found)


def nearest(target: Tensor, source: Tensor, neighbors: int) -> Tensor:
    """Find the source images that are among the ``neighbors`` nearest of any target image; sorted.

    The distance is the Kullback-Leibler divergence both ways, summed over the filters (Ge & Yu 2017,
    equation 1, with equal weights).

    Args:
        target: histograms (N, filters, bins).
        source: (M, filters, bins).
        neighbors: of each target image.

    >>> nearest(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]], [[0.9, 0.1]]]), 1)
    tensor([1])
    """
    p, q = (histograms.flatten(1).double() + 1e-6 for histograms in (target, source))
    own = (q * q.log()).sum(1)
    chosen = []
    for some in torch.split(p, 256):
        # Terms of the target image alone are left out: they don't change the order.
        distance = own - some @ q.log().T - some.log() @ q.T
        chosen.append(distance.topk(min(neighbors, len(q)), largest=False).indices.flatten())
    found: Tensor = torch.cat(chosen).unique()  # type: ignore[no-untyped-call]
    return found
