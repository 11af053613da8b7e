"""Splitting images into train, val and test, where the layout gives no split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from convsmith.data.layout import Item
from convsmith.data.scan import Header
from convsmith.data.shuffle import generator
from convsmith.errors import UserError

# A random stream of its own, apart from the other split's.
FLOOR = 103


def divided(
    rows: Sequence[tuple[Item, Header]], val: float, seed: int, *, floor: float = 0.0
) -> list[tuple[Item, Header]]:
    """Give every item a split; those without one are divided, stratified by class.

    Args:
        rows: items with their headers.
        val: share of the images for validation, where the layout gives none.
        seed: of the draw.
        floor: share of the validation images that is set aside: they choose no epoch.
    """
    known = {item.split for item, _ in rows}
    items = [item for item, _ in rows]
    if None in known:
        items = _parted(items, None, ("train", "val"), val, seed)
    elif "val" not in known:
        items = _parted(items, "train", ("train", "val"), val, seed)
    if floor:
        # A draw of its own, so that val and train are those of a recipe without a floor.
        items = _parted(items, "val", ("val", "floor"), floor, seed + FLOOR, strict=False)
    return [(item, header) for item, (_, header) in zip(items, rows)]


def _parted(
    items: Sequence[Item],
    split: str | None,
    into: tuple[str, str],
    share: float,
    seed: int,
    *,
    strict: bool = True,
) -> list[Item]:
    """Items of ``split`` in two: ``share`` of them get the second name, the others the first."""
    fresh = [number for number, item in enumerate(items) if item.split == split]
    chosen = stratified(_strata([items[number] for number in fresh]), share, seed, strict=strict)
    names = {number: into[is_second] for number, is_second in zip(fresh, chosen)}
    return [replace(item, split=names.get(number, item.split)) for number, item in enumerate(items)]


def _strata(items: Sequence[Item]) -> list[str]:
    """Strata of the split: the classes, or up to ten ranges of the first target."""
    if any(item.target is None for item in items):
        return [item.label for item in items]
    order = sorted(range(len(items)), key=lambda number: (items[number].target, str(items[number].path)))
    groups = max(1, min(10, len(items) // 10))
    strata = [""] * len(items)
    for place, number in enumerate(order):
        strata[number] = str(place * groups // len(items))
    return strata


def stratified(labels: Sequence[str], val: float, seed: int, *, strict: bool = True) -> list[bool]:
    """Choose the rows of val: the share of each class, and at least one on each side.

    A class of one image stays on the first side, unless ``strict``.

    Raises:
        UserError: if ``strict`` and a class has one image.
    """
    groups: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        groups.setdefault(label, []).append(row)
    draws = generator(seed)
    for label, rows in sorted(groups.items()):
        if strict and len(rows) < 2 and len(groups) > 1:
            raise UserError(
                f"class {label!r} has {len(rows)} image; a split needs at least 2. Add images or drop it "
                f"with `data.exclude=[{label}]`"
            )
    chosen = [False] * len(labels)
    for _, rows in sorted(groups.items()):
        if len(rows) < 2:
            continue
        share = min(len(rows) - 1, max(1, round(val * len(rows))))
        for place in torch.randperm(len(rows), generator=draws)[:share].tolist():
            chosen[rows[place]] = True
    return chosen
