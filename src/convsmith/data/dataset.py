"""Images with their splits, classes and statistics: what a training or an evaluation reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convsmith import catalog
from convsmith.data.batches import Split
from convsmith.data.fit import Fit
from convsmith.data.item import Item
from convsmith.data.levels import WIDE, Levels
from convsmith.data.moments import covariance
from convsmith.data.pixels import Resized, Store
from convsmith.data.signature import Signature
from convsmith.data.targets import Encoding
from convsmith.findings import Finding
from convsmith.nn.normalizer import Normalizer

# In display order. `floor`: validation images that choose no epoch, for an accuracy floor.
SPLITS = ("train", "val", "floor", "test")


@dataclass
class Dataset:
    """All that a run needs to know of its images.

    ``items`` are the usable files in the store's order, each with its split; ``reasons`` explain the
    choices that the recipe left open, by dotted key. ``costs`` (K, K) are those of the recipe;
    ``cost_classes`` order the costs that a CSV gives with each image. The store holds images of ``stored``
    pixels a side, the net reads ``size``.
    """

    classes: list[str]
    items: list[Item]
    store: Store
    size: int
    channels: int
    normalizer: Normalizer
    fingerprint: str
    findings: list[Finding] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    encoding: Encoding | None = None
    costs: Tensor | None = None
    cost_classes: list[str] = field(default_factory=list)
    stored: int = 0
    # Short sides of the files in pixels: smallest, median, largest.
    sides: tuple[int, int, int] = (0, 0, 0)
    # Files that can't be used.
    left_out: list[Path] = field(default_factory=list)
    # Of the items' bytes, for those who note which they were.
    digests: list[str] = field(default_factory=list)
    # What was kept on one side of the split, as ``data.group`` says it.
    group: str = "none"
    # How images are made square, and which values of more than 8 bits become 0 and 255.
    fit: Fit = "crop"
    levels: Levels | None = WIDE

    @property
    def kind(self) -> str:
        """What the targets are: ``"classes"``, ``"numbers"`` or ``"distribution"``."""
        return self.encoding.kind if self.encoding is not None else "classes"

    @property
    def signature(self) -> Signature:
        """Signature of a net for these images."""
        own = self.encoding
        return Signature(
            tuple(self.classes),
            self.size,
            self.channels,
            self.stored,
            tuple(self.columns),
            None if own is None else catalog.describe(own),
            None if own is None else own.state(),
            None if self.costs is None else tuple(map(tuple, self.costs.tolist())),
            self.fit,
            self.levels,
        )

    def values(self, name: str) -> Tensor:
        """The numeric targets of a split as the CSV gives them, (N, T) float64."""
        found = [item.target for item in self.items if item.split == name]
        return torch.tensor(found, dtype=torch.double)

    @property
    def at_size(self) -> Store:
        """The images at the size that the net reads."""
        return self.store if self.stored in (0, self.size) else Resized(self.store, self.size)

    def split(self, name: str, *, stored: bool = False) -> Split | None:
        """The rows of ``"train"``, ``"val"``, ``"floor"`` or ``"test"``; None if the data set has none.

        At the net's size, or as ``stored``.
        """
        store = self.store if stored else self.at_size
        rows = [row for row, item in enumerate(self.items) if item.split == name]
        if not rows:
            return None
        if self.encoding is not None:
            return Split(store, torch.tensor(rows), self.encoding.encode(self.values(name)))
        index = {label: number for number, label in enumerate(self.classes)}
        labels = torch.tensor([index[self.items[row].label] for row in rows])
        return Split(store, torch.tensor(rows), labels, self._costs(rows))

    def _costs(self, rows: Sequence[int]) -> Tensor | None:
        if not self.cost_classes:
            return None
        order = [self.cost_classes.index(label) for label in self.classes]
        return torch.tensor([self.items[row].costs for row in rows], dtype=torch.float32)[:, order]

    def class_counts(self) -> Tensor | None:
        """Training images of each class, (K,); None where there are no classes."""
        if self.encoding is not None:
            return None
        return torch.bincount(self.train.targets, minlength=len(self.classes))

    @property
    def train(self) -> Split:
        """The training split, which is always there."""
        train = self.split("train")
        assert train is not None
        return train

    def facts(self) -> dict[str, Callable[[], Any]]:
        """Facts that augmentations may ask for, by name, computed on demand."""
        return {
            "size": lambda: self.stored,
            "files": lambda: [item.path for item in self.items],
            "mean": lambda: self.normalizer.mean,
            "covariance": lambda: covariance(self.train),
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by split and class; of all images where there are no classes."""
        found = Counter((str(item.split), item.label) for item in self.items)
        splits = [name for name in SPLITS if any(split == name for split, _ in found)]
        if self.encoding is not None:
            return {split: {"images": found[split, ""]} for split in splits}
        return {split: {label: found[split, label] for label in self.classes} for split in splits}

    def summary(self) -> dict[str, Any]:
        return {
            "classes": self.classes,
            "kind": self.kind,
            "columns": self.columns,
            "counts": self.counts(),
            "size": self.size,
            "stored": self.stored,
            "channels": self.channels,
            "fit": self.fit,
            "levels": None if self.levels is None else list(self.levels),
            "pixels": self.store.where,
            "flat": len(self.store.faint),
            "fingerprint": self.fingerprint,
            "findings": [finding.as_dict() for finding in self.findings],
        }
