"""Near duplicates among images: copies that were resized, compressed again, or made a little brighter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from convsmith.data.layout import Item
from convsmith.data.pixels import Store
from convsmith.errors import shown
from convsmith.findings import Finding

# Bits of 64 in which two hashes may differ: with 3, one of their four 16-bit parts must be equal.
BITS = 3
# Mean difference of two thumbnails, as a share of their contrast, up to which they show one picture.
ALIKE = 0.08
# Largest group of images with an equal part of the hash that is compared pair by pair; larger groups share
# it by chance (say, black corners).
BUCKET = 300


def hashes(store: Store, rows: Tensor) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    """Difference hashes (N,), and grey thumbnails (N, 256) of mean 0 and contrast 1.

    A hash has 64 bits, each of which says whether a pixel on a grid of 9 x 8 is brighter than its right
    neighbor (Krawetz 2013, "Kind of like that").
    """
    bits, thumbnails = [], []
    for pixels in store.stream(list(torch.split(rows, 256))):
        grey = pixels.float().mean(3)[:, None]
        grid = F.interpolate(grey, size=(8, 9), mode="bilinear", antialias=True, align_corners=False)[:, 0]
        bits.append(np.packbits((grid[:, :, 1:] > grid[:, :, :-1]).flatten(1).numpy(), axis=1))
        small = F.interpolate(grey, size=(16, 16), mode="bilinear", antialias=True).flatten(1)
        small = small - small.mean(1, keepdim=True)
        thumbnails.append((small / (small.std(1, keepdim=True) + 1)).numpy())
    codes = np.ascontiguousarray(np.concatenate(bits)).view(np.uint64)[:, 0]
    return codes, np.concatenate(thumbnails)


def pairs(codes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs of rows whose hashes differ in at most 3 bits and whose thumbnails are alike.

    >>> pairs(np.array([7, 5, 2**64 - 1], np.uint64), np.array([[0, 1], [0, 1.05], [0, 1]], np.float32))
    [(0, 1)]
    """
    found = set()
    parts = codes.view(np.uint16).reshape(len(codes), 4)
    for part in range(4):
        for bucket in _buckets(parts[:, part]):
            near = np.bitwise_count(codes[bucket][:, None] ^ codes[bucket][None]) <= BITS
            for one, other in zip(*np.nonzero(np.triu(near, 1))):
                a, b = int(bucket[one]), int(bucket[other])
                if np.abs(thumbnails[a] - thumbnails[b]).mean() <= ALIKE:
                    found.add((min(a, b), max(a, b)))
    return sorted(found)


def _buckets(values: npt.NDArray[np.uint16]) -> Iterator[npt.NDArray[np.int64]]:
    order = np.argsort(values, kind="stable")
    for bucket in np.split(order, np.flatnonzero(np.diff(values[order])) + 1):
        if 1 < len(bucket) <= BUCKET:
            yield bucket


def findings(store: Store, items: Sequence[Item]) -> list[Finding]:
    """Findings about near duplicates across splits, under two labels, and within one split."""
    rows = [row for row, item in enumerate(items) if item.split]
    own = [items[row] for row in rows]
    groups: dict[str, list[tuple[Item, Item]]] = defaultdict(list)
    for a, b in pairs(*hashes(store, torch.tensor(rows))):
        one, other = own[a], own[b]
        if one.label != other.label:
            groups["labels"].append((one, other))
        groups["across" if one.split != other.split else "within"].append((one, other))
    texts = {
        "across": (
            "in two splits",
            "accuracy on the second is too good to be true",
            "put each pair on one side",
        ),
        "labels": ("under two labels", "at least one label of each pair is wrong", "look at them"),
        "within": ("within one split", "they count double", "keep one of each, if they are no accident"),
    }
    return [
        Finding(
            seen=f"{_count(groups[kind])} of nearly equal pictures {where}: {_examples(groups[kind])}",
            means=means,
            change=change,
            why="a copy teaches nothing new, and tests nothing",
            source="difference hash, thumbnails compared",
            name=f"near_duplicates_{kind}",
        )
        for kind, (where, means, change) in texts.items()
        if groups[kind]
    ]


def _count(pairs: Sequence[object]) -> str:
    return "1 pair" if len(pairs) == 1 else f"{len(pairs):,} pairs"


def _examples(found: Sequence[tuple[Item, Item]]) -> str:
    names = [f"{shown(one.path)} = {shown(other.path)}" for one, other in found[:2]]
    return ", ".join(names) + (", ..." if len(found) > 2 else "")
