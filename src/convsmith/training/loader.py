"""Adapter from a torch DataLoader to the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from convsmith.data.batches import Batch


class LoaderBatches:
    """Batches of a ``DataLoader`` (or any sized iterable of pairs) for :func:`convsmith.training.loop.fit`.

    The loader decides the order, so a training that is resumed within an epoch sees other batches there. If
    its sampler has ``set_epoch``, it is called at the start of each epoch.

    Args:
        loader: gives (images (n, C, H, W), targets (n,)), and has a length.
        device: where the batches are brought.

    >>> pairs = [(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))]
    >>> [batch.count for batch in LoaderBatches(pairs, torch.device("cpu")).epoch(0)]
    [2]
    """

    def __init__(self, loader: Iterable[Sequence[Tensor]], device: torch.device) -> None:
        self.loader = loader
        self.device = device

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Batches ``first``, ``first + 1``, ... of an epoch."""
        sampler: Any = getattr(self.loader, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        for number, (images, targets) in enumerate(self.loader):
            if number >= first:
                images = images.to(self.device, non_blocking=True)
                targets = targets.to(self.device, non_blocking=True)
                yield Batch(images, targets, 1.0, len(images))

    def sample(self, count: int) -> LoaderBatches:
        """The first ``count`` images, or a few more, kept in memory."""
        kept: list[Sequence[Tensor]] = []
        for images, targets in self.loader:
            kept.append((images, targets))
            count -= len(images)
            if count <= 0:
                break
        return LoaderBatches(kept, self.device)
