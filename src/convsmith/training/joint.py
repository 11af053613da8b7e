"""Selective joint fine-tuning: learn the target task together with the most similar source images."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
import torch.distributed
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from convsmith import recipe as recipes
from convsmith.catalog import Place, technique
from convsmith.data.batches import Batches, Split
from convsmith.data.dataset import Dataset
from convsmith.data.opened import open_data
from convsmith.data.shuffle import generator
from convsmith.errors import UserError, shown
from convsmith.findings import Finding
from convsmith.nn.manners import features
from convsmith.nn.patterns import gabor
from convsmith.training.finetune import AllStages, Pace
from convsmith.training.machine import first_alone

BINS = 16
# Wavelengths of the Gabor filters in pixels, and the number of directions of each (as Ge & Yu).
WAVELENGTHS, DIRECTIONS = (3.0, 4.5, 6.0, 9.0), 6
# Side of the filters in pixels, and places a side of an image at which they are applied.
SIDE, PLACES = 11, 32
# Images whose patches are held at once, and images whose distances are (BLOCK x BLOCK).
TOGETHER, BLOCK = 32, 4096
# Least share of a bin, so that logarithms are finite.
FLOOR = 1e-6


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
        # One process looks, the others wait for what it found.
        chosen = first_alone(
            lambda: nearest(described(dataset.train, device), described(train, device), neighbors, device)
        )
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
    several = torch.distributed.is_initialized()
    section = recipes.Data(path=source, size=dataset.size)
    found = open_data(section, seed=seed, shared=several, once=first_alone)
    if found.encoding is not None or found.channels != dataset.channels:
        raise UserError(
            f"{shown(source)} can't be learned beside {dataset.channels}-channel images: it has "
            f"{'numbers' if found.encoding is not None else f'{found.channels} channels'}"
        )
    return found


def described(split: Split, device: torch.device = torch.device("cpu")) -> Tensor:  # noqa: B008
    """Compute histograms (N, filters, bins) of each image's responses to Gabor filters, each summing to 1.

    Of an image with more than ``PLACES`` pixels a side, so many places a side are looked at, one drawn in
    each cell of a grid: a regular step would see a wave of its own length always at the same phase.

    Args:
        split: the images.
        device: where it is computed; the histograms are on the CPU.
    """
    filters = _filters().to(device)
    found = torch.empty(len(split), len(filters), BINS)
    rows = torch.split(split.rows, TOGETHER)
    for out, pixels in zip(torch.split(found, TOGETHER), split.store.stream(rows)):
        grey = pixels.to(device).sum(3, dtype=torch.int32).float() / pixels.shape[3]
        # Over the image's own contrast, so that light doesn't change the histogram; waves have no mean, so
        # that brightness doesn't either.
        contrast = grey.flatten(1).std(1) + 1
        responses = _patches(grey) @ filters.T / contrast[:, None, None]
        # Bins of equal width over [-2, 2], and one on either side.
        bins = ((responses + 2) * ((BINS - 2) / 4)).floor_().clamp_(-1, BINS - 2).long() + 1
        counts = torch.zeros(*out.shape, device=device)
        counts.scatter_add_(2, bins.transpose(1, 2), counts.new_ones(()).expand_as(bins.transpose(1, 2)))
        out.copy_(counts / bins.shape[1])
    return found


def _filters() -> Tensor:
    """Gabor waves of all lengths and directions, (filters, SIDE^2), of mean 0 and norm 1."""
    waves = torch.stack(
        [
            gabor(SIDE, 180 * turn / DIRECTIONS, wavelength=length).float().flatten()
            for length in WAVELENGTHS
            for turn in range(DIRECTIONS)
        ]
    )
    waves = waves - waves.mean(1, keepdim=True)
    lengths: Tensor = waves.norm(dim=1, keepdim=True)
    return waves / lengths


def _places(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the places looked at: all, or one in each cell of PLACES x PLACES."""
    rows, columns = torch.meshgrid(
        torch.arange(min(height, PLACES)), torch.arange(min(width, PLACES)), indexing="ij"
    )
    draws = generator(height, width)
    within = torch.rand(2, *rows.shape, generator=draws)
    found = [
        ((own + share) * (side / min(side, PLACES))).long().clamp_max(side - 1).flatten()
        for own, share, side in zip((rows, columns), within, (height, width))
    ]
    return found[0], found[1]


def _patches(grey: Tensor) -> Tensor:
    """Surroundings of places of images (n, H, W), mirrored at the border: (n, places, SIDE^2)."""
    padded = F.pad(grey[:, None], (SIDE // 2,) * 4, mode="reflect")[:, 0]
    rows, columns = _places(*grey.shape[1:])
    around = torch.arange(SIDE)
    width = padded.shape[2]
    index = (rows * width + columns)[:, None] + (around[:, None] * width + around).flatten()
    found = padded.flatten(1).index_select(1, index.flatten().to(grey.device))
    return found.view(len(grey), *index.shape)


def nearest(
    target: Tensor,
    source: Tensor,
    neighbors: int,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> Tensor:
    """Find the source images that are among the ``neighbors`` nearest of any target image; sorted.

    The distance is the Kullback-Leibler divergence both ways, summed over the filters (Ge & Yu 2017,
    equation 1, with equal weights). Memory beside the histograms: a block of BLOCK x BLOCK distances, and
    the target's logarithms.

    Args:
        target: histograms (N, filters, bins).
        source: (M, filters, bins).
        neighbors: of each target image.
        device: where it is computed.

    >>> nearest(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]], [[0.9, 0.1]]]), 1)
    tensor([1])
    """
    # (p - q) . (log p - log q) stays the same when p and q, or their logarithms, are shifted alike:
    # around the mean they are so small that float32 has digits enough.
    middle = target.flatten(1).double().mean(0).to(device)
    p, log_p = _around(target, middle)
    keep = min(neighbors, len(source))
    best = torch.full((len(p), keep), torch.inf, device=device)
    which = torch.zeros(len(p), keep, dtype=torch.long, device=device)
    for start in range(0, len(source), BLOCK):
        q, log_q = _around(source[start : start + BLOCK], middle)
        own = (q * log_q).sum(1)
        for part in torch.arange(len(p), device=device).split(BLOCK):  # type: ignore[no-untyped-call]
            # Terms of the target image alone are left out: they don't change the order.
            distance = own - p[part] @ log_q.T - log_p[part] @ q.T
            near = distance.topk(min(keep, len(q)), largest=False)
            both = torch.cat([best[part], near.values], 1).topk(keep, largest=False)
            known = torch.cat([which[part], near.indices + start], 1)
            best[part], which[part] = both.values, known.gather(1, both.indices)
    found: Tensor = which.unique().cpu()  # type: ignore[no-untyped-call]
    return found


def _around(histograms: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Histograms less the middle, and their logarithms less the middle's, as float32 rows."""
    rows = histograms.flatten(1).to(middle) + FLOOR
    return (rows - middle - FLOOR).float(), (rows.log() - (middle + FLOOR).log()).float()
