"""From DATA to splits ready for training: scanned, decoded, divided, and with its statistics."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data import builtin, degrade, layout, targets
from convsmith.data.batches import Split
from convsmith.nn.normalizer import Normalizer
from convsmith.data.layout import Item
from convsmith.data.moments import covariance, measure
from convsmith.data.pixels import Resized, Store, open_store
from convsmith.data.scan import (
    GREY_MODES,
    Broken,
    Header,
    Track,
    broken_findings,
    duplicate_findings,
    scan,
    silent,
)
from convsmith.data.splitting import divided
from convsmith.data.targets import Encoding
from convsmith.errors import UserError, nearest, shown
from convsmith.findings import Finding


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
    # Short sides of the files in pixels: the least, the median, the largest.
    sides: tuple[int, int, int] = (0, 0, 0)

    @property
    def kind(self) -> str:
        """What the targets are: ``"classes"``, ``"numbers"`` or ``"distribution"``."""
        return self.encoding.kind if self.encoding is not None else "classes"

    def values(self, name: str) -> Tensor:
        """The numeric targets of a split as the CSV gives them, (N, T) float64."""
        found = [item.target for item in self.items if item.split == name]
        return torch.tensor(found, dtype=torch.double)

    def split(self, name: str, *, stored: bool = False) -> Split | None:
        """The rows of ``"train"``, ``"val"`` or ``"test"``; None if the data set has none.

        At the net's size, or as ``stored``.
        """
        store = self.store if stored or self.stored in (0, self.size) else Resized(self.store, self.size)
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
        """What augmentations may ask for, by name; made only when one does."""
        return {
            "size": lambda: self.stored,
            "files": lambda: [item.path for item in self.items],
            "mean": lambda: self.normalizer.mean,
            "covariance": lambda: covariance(self.train),
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by split and class; of all images where there are no classes."""
        found = Counter((str(item.split), item.label) for item in self.items)
        splits = [name for name in ("train", "val", "test") if any(split == name for split, _ in found)]
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
            "pixels": self.store.where,
            "fingerprint": self.fingerprint,
            "findings": [finding.as_dict() for finding in self.findings],
        }


def prepare(
    section: recipes.Data, *, seed: int = 0, shared: bool = False, track: Track[list[Path]] = silent
) -> Dataset:
    """Scan, decode and split the images that ``section.path`` names; nothing of theirs is changed.

    Args:
        section: the recipe's ``data``.
        seed: of the split into train and val, where the layout gives none.
        shared: several processes will read the pixels.
        track: shows progress.

    Raises:
        UserError: if there are no images, only one class, a class without images in train or val, or
            a class too small to split.
    """
    root = locate(section.path)
    items = _without(layout.find(root), section.exclude)
    rows, broken = scan(items, track)
    _refuse_empty(rows, broken, root)
    reasons: dict[str, str] = {}
    size = section.size or _common_size([header for _, header in rows], reasons)
    stored = section.stored or size
    if stored < size:
        raise UserError(f"data.stored={stored} is less than the size, {size}; leave it out, or raise it")
    channels = 1 if all(header.mode in GREY_MODES for _, header in rows) else 3
    store, damaged = open_store(
        [(item.path, header) for item, header in rows],
        size=stored,
        channels=channels,
        memory=section.memory_share,
        disk=section.disk_share,
        workers=section.workers,
        shared=shared,
        track=track,
    )
    bad = {file.path for file in damaged}
    good = [number for number, (item, _) in enumerate(rows) if item.path not in bad]
    split = divided([rows[number] for number in good], section.val, seed)
    items, made = degrade.degraded([item for item, _ in split], section, seed)
    split = [(item, header) for item, (_, header) in zip(items, split)]
    _refuse(split, root)
    # Broken rows stay in the store, without a split, so that rows and items keep their numbers.
    kept = [replace(item, split=None) for item, _ in rows]
    for number, (item, _) in zip(good, split):
        kept[number] = item
    encoding = _encoding(root, section, [item for item, _ in split], reasons)
    classes = sorted({item.label for item, _ in split}) if encoding is None else encoding.outputs
    dataset = Dataset(
        classes=classes,
        items=kept,
        store=store,
        size=size,
        channels=channels,
        normalizer=Normalizer(torch.zeros(channels), torch.ones(channels)),
        fingerprint=_fingerprint(rows, root),
        findings=[
            *broken_findings([*broken, *damaged]),
            *duplicate_findings([row for row in split if row[0].split]),
            *_tiny_findings(split),
            *made,
        ],
        reasons=reasons,
        columns=layout.target_names(root),
        encoding=encoding,
        costs=_cost_matrix(section, classes, encoding),
        cost_classes=_cost_classes(root, classes),
        stored=stored,
        sides=_sides([header for _, header in rows]),
    )
    dataset.normalizer = measure(dataset.train, section.normalize)
    return dataset


def _cost_matrix(section: recipes.Data, classes: list[str], encoding: Encoding | None) -> Tensor | None:
    if section.costs is None:
        return None
    if encoding is not None:
        raise UserError("data.costs is for classes; the targets here are numbers")
    matrix: Tensor = catalog.build("cost", section.costs, classes=classes)
    return matrix


def _cost_classes(root: Path, classes: Sequence[str]) -> list[str]:
    """The classes of the CSV's cost columns; all or none."""
    names = layout.cost_names(root)
    missing = [label for label in classes if label not in names]
    if names and missing:
        raise UserError(
            f"{shown(root)} has costs for {', '.join(names)} but not for {missing[0]!r}; add the column "
            f"cost_{missing[0]}"
        )
    return names


def _encoding(
    root: Path, section: recipes.Data, items: Sequence[Item], reasons: dict[str, str]
) -> Encoding | None:
    columns = layout.target_names(root)
    if not columns:
        if section.target is not None:
            raise UserError(
                f"data.target is for numbers, but {shown(root)} has classes; leave it out, or give a "
                f"CSV with a target column"
            )
        return None
    values = torch.tensor([item.target for item in items if item.split == "train"], dtype=torch.double)
    encoding, reason = targets.choose(columns, values, section.target)
    if reason is not None:
        reasons["data.target"] = reason
    return encoding


def locate(path: str | None) -> Path:
    """The folder or CSV of DATA; a built-in name gives its cached folder."""
    if path is None:
        raise UserError("no DATA: give a folder of images, a CSV, or a built-in name such as digits")
    place = Path(path).expanduser()
    if place.exists():
        return place
    if builtin.is_builtin(path):
        return builtin.folder(path)
    hint = nearest(path, builtin.names())
    raise UserError(
        f"there is no {shown(path)}{hint if 'did you mean' in hint else ''}; DATA is a folder CLASS/*.jpg, a "
        f"folder with train/ and val/, a CSV with path and label, or a built-in name such as digits"
    )


def _without(items: list[Item], exclude: Sequence[str]) -> list[Item]:
    labels = {item.label for item in items}
    for name in exclude:
        if name not in labels:
            raise UserError(f"data.exclude: there is no class {name!r}{nearest(name, labels)}")
    return [item for item in items if item.label not in exclude]


def _tiny_findings(rows: Sequence[tuple[Item, Header]]) -> list[Finding]:
    counts = Counter(item.label for item, _ in rows if item.split == "train" and item.target is None)
    tiny = [label for label, count in sorted(counts.items()) if count < 2]
    if not tiny:
        return []
    return [
        Finding(
            seen=f"{len(tiny)} of {len(counts)} classes have fewer than 2 training images: "
            f"{', '.join(tiny[:3])}",
            means="the net can only memorize them",
            change=f"add images, or --set 'data.exclude=[{', '.join(tiny[:3])}]'",
            why="what varies within a class can't be learned from one example",
            source="scan",
        )
    ]


def _refuse_empty(rows: Sequence[tuple[Item, Header]], broken: Sequence[Broken], root: Path) -> None:
    if rows:
        return
    first = f", e.g. {shown(broken[0].path)}: {broken[0].reason}" if broken else ""
    raise UserError(f"no usable images under {shown(root)}: {len(broken)} files were left out{first}")


def _refuse(rows: Sequence[tuple[Item, Header]], root: Path) -> None:
    """Refuse what can't be trained on, in one sentence."""
    labels = {
        split: {item.label for item, _ in rows if item.split == split} for split in ("train", "val", "test")
    }
    classes = labels["train"] | labels["val"] | labels["test"]
    if len(classes) < 2 and classes != {""}:
        raise UserError(
            f"{shown(root)} has one class, {', '.join(map(repr, classes))}; a classifier needs at least two. "
            f"Put each class into a folder of its own, CLASS/*.jpg"
        )
    for split in ("train", "val"):
        missing = sorted(classes - labels[split])
        if missing == [""]:
            raise UserError(f"{shown(root)} has no usable image in {split}; add some")
        if missing:
            raise UserError(
                f"class {missing[0]!r} has no usable image in {split}; add some, or drop it with "
                f"--set 'data.exclude=[{missing[0]}]'"
            )


def _sides(headers: Sequence[Header]) -> tuple[int, int, int]:
    sides = [min(header.width, header.height) for header in headers]
    return min(sides), int(statistics.median(sides)), max(sides)


def _common_size(headers: Sequence[Header], reasons: dict[str, str]) -> int:
    sides = [min(header.width, header.height) for header in headers]
    if max(sides) <= 64 and len(set(sides)) == 1:
        reasons["data.size"] = f"all images have {sides[0]} pixels on the short side"
        return max(4, sides[0])
    middle = statistics.median(sides)
    size = min(224, max(32, int(middle // 32) * 32))
    reasons["data.size"] = f"the median short side is {middle:g} pixels: the next multiple of 32, at most 224"
    return size


def _fingerprint(rows: Sequence[tuple[Item, Header]], root: Path) -> str:
    digest = xxhash.xxh3_128()
    for item, header in rows:
        # Names relative to DATA, so that a moved folder is still the same data.
        name = item.path.relative_to(root) if item.path.is_relative_to(root) else item.path
        digest.update(
            f"{name}\0{item.target or item.label}\0{item.split}\0{header.digest}\n".encode(
                "utf-8", "surrogateescape"
            )
        )
    return str(digest.hexdigest())
