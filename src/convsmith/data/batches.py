"""One split as normalized, augmented mini-batches on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from convsmith.data.augment import Augment
from convsmith.data.pixels import Decoded, Resized, Store, cached
from convsmith.data.shuffle import generator
from convsmith.nn.normalizer import Normalizer


@dataclass(frozen=True)
class Split:
    """Rows of a store with their classes, and what each decision about them costs, (N, K), if it is known."""

    store: Store
    rows: Tensor
    targets: Tensor
    costs: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """Images (n, C, H, W), classes (n,) and, where the objective asks for them, costs (n, K) on the device.

    ``share`` is n over the mean number of images a process has of this global batch: weighing each
    process's mean loss by it makes the average over processes the mean over all images.
    """

    images: Tensor
    targets: Tensor
    share: float
    count: int
    costs: Tensor | None = None


def normalize(normalizer: Normalizer, pixels: Tensor, out: Tensor | None = None) -> Tensor:
    """Compute ``normalizer(pixels)``, bit for bit, in half the time for large images.

    Args:
        normalizer: on the device of the pixels.
        pixels: (N, H, W, C).
        out: (N, H, W, C) float32, contiguous, that is written to; None: a new one.

    Returns:
        (N, C, H, W) float32.
    """
    if out is None:
        out = torch.empty(pixels.shape, device=pixels.device)
    # Rows of all channels: three numbers at a time would be four times slower.
    width = pixels.shape[2]
    mean = normalizer.mean.repeat(width) if normalizer.mean.ndim == 1 else normalizer.mean.flatten(1)
    std = normalizer.std.repeat(width)
    some = max(1, len(pixels)) if pixels.is_cuda else cached(pixels[:1].numel())
    for given, found in zip(torch.split(pixels, some), torch.split(out, some)):
        found.copy_(given).flatten(2).sub_(mean).div_(std)
    return out.permute(0, 3, 1, 2)


class Batches:
    """Iterates one split; what it yields is a pure function of (seed, epoch, rank, world).

    An epoch of N images is cut into ceil(N / batch_size) global batches as even as can be, so that no
    image is dropped and no tiny batch upsets batch normalization; each process takes every
    ``world``-th image of each global batch.

    Args:
        split: the images.
        normalizer: uint8 to float.
        batch_size: images a global batch, over all processes; with several crops, pictures.
        device: where batches are made.
        sampler: order of an epoch (with ``set_epoch``); None keeps the rows' own order.
        augment: the augmentations.
        crops: pictures of each image in its batch, each augmented by itself; an epoch has as many times more.
        costs: (K, K) of each decision (column) about each class (row), where images have none of their own.
        channels_last: memory format of the images.
        seed: of the augmentation.
        rank, world: this process and how many there are.
    """

    def __init__(
        self,
        split: Split,
        normalizer: Normalizer,
        *,
        batch_size: int,
        device: torch.device,
        sampler: Sampler[int] | None = None,
        augment: Augment | None = None,
        crops: int = 1,
        costs: Tensor | None = None,
        channels_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.split = split
        # A copy: moving a module to a device moves it for everyone who holds it.
        self.normalizer = Normalizer(normalizer.mean, normalizer.std).to(device)
        self.batch_size = batch_size
        self.device = device
        self.sampler = sampler
        self.augment = augment
        self.crops = crops
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.seed = seed
        self.rank = rank
        self.world = world
        self.targets = split.targets.to(device)
        # float32: costs meet posteriors there
        self.costs = costs.float().to(device) if costs is not None else None
        self.own_costs = split.costs.float().to(device) if split.costs is not None else None

    def __len__(self) -> int:
        count = len(self.sampler) if self.sampler is not None else len(self.split)  # type: ignore[arg-type]
        size = max(1, self.batch_size // self.crops)
        batches = max(1, math.ceil(count / size))
        # One image of a process has no statistics to normalize by: an odd number in pairs makes one of three.
        pairs = 2 * self.world
        return max(1, count // pairs) if size >= pairs > count // batches else batches

    def at(self, places: Tensor) -> Batch:
        """The images at these places within the split, plain."""
        (pixels,) = self.split.store.stream([self.split.rows[places]])
        images = self._normalized(pixels.to(self.device, non_blocking=True))
        targets = self.targets[places.to(self.device)]
        return Batch(images.contiguous(memory_format=self.memory_format), targets, 1.0, len(places))

    def in_order(self, plain: bool = False, places: Tensor | None = None) -> Batches:
        """All images in the split's own order, or those at ``places`` in theirs; one picture of each,
        whatever this process's share is."""
        store = self.split.store
        places = torch.arange(len(self.split)) if places is None else places
        if plain and self.augment is not None and self.augment.size is not None:
            # Stored images are larger than the net's, so that crops can be taken from them.
            store = Resized(store, self.augment.size)
        return Batches(
            Split(store, self.split.rows[places], self.split.targets[places]),
            self.normalizer,
            batch_size=self.batch_size,
            device=self.device,
            augment=None if plain else self.augment,
            channels_last=self.memory_format == torch.channels_last,
            seed=self.seed,
        )

    def sample(self, count: int) -> Batches:
        """About ``count`` of the images, evenly spread, plain and in their own order; kept in memory."""
        places = torch.linspace(0, len(self.split) - 1, min(count, len(self.split))).long()
        some = self.in_order(plain=True, places=places)
        wanted = torch.split(some.split.rows, self.batch_size)
        store = Decoded(torch.cat(list(some.split.store.stream(wanted))), "memory")
        some.split = Split(store, torch.arange(len(places)), some.split.targets)
        return some

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Batches ``first``, ``first + 1``, ... of an epoch."""
        whole = self.order(epoch).tensor_split(len(self))[first:]
        if not whole:  # resumed between the last batch and the epoch's end
            return
        mine = [batch[self.rank :: self.world] for batch in whole]
        streams = self.split.store.stream([self.split.rows[batch] for batch in mine])
        places = torch.split(torch.cat(mine).to(self.device), [len(batch) for batch in mine])
        for number, (place, pixels) in enumerate(zip(places, streams), start=first):
            everyone = whole[number - first]
            place = place.repeat_interleave(self.crops)
            draws = generator(self.seed, epoch, number)
            images, targets = self._pictures(pixels, self.targets[place], everyone, draws)
            yield Batch(
                images=images.contiguous(memory_format=self.memory_format),
                targets=targets,
                share=len(place) * self.world / (len(everyone) * self.crops),
                count=len(place),
                costs=self.costs_of(place),
            )

    def _normalized(self, pixels: Tensor, out: Tensor | None = None) -> Tensor:
        return normalize(self.normalizer, pixels, out)

    def costs_of(self, places: Tensor) -> Tensor | None:
        """What each decision costs about the images at these places, (n, K), if it is known."""
        if self.own_costs is not None:
            return self.own_costs[places]
        return None if self.costs is None else self.costs[self.targets[places]]

    def order(self, epoch: int) -> Tensor:
        """Places of the images within the split, in the order in which an epoch takes them."""
        if self.sampler is None:
            return torch.arange(len(self.split))
        self.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        if hasattr(self.sampler, "rows"):  # ours, in one piece
            rows: Tensor = self.sampler.rows()
            return rows
        return torch.from_numpy(np.fromiter(self.sampler, np.int64))

    def _pictures(
        self, pixels: Tensor, targets: Tensor, everyone: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Normalized images and their targets; ``everyone`` are the places of the whole batch."""
        pixels = pixels.to(self.device, non_blocking=True)
        if self.crops > 1:
            pixels = pixels.repeat_interleave(self.crops, 0)
        if self.augment is None or not len(pixels):
            return self._normalized(pixels), targets
        count = len(everyone) * self.crops
        own = torch.arange(count).view(-1, self.crops)[self.rank :: self.world].flatten()
        rows = self.split.rows[everyone].repeat_interleave(self.crops)
        images = self.augment(pixels, rows, own, draws, self._normalized)
        return self.augment.mixed(images, targets, count, own, draws)
