"""Which images train, validate and test, where the layout doesn't say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from convsmith.data.layout import Item
from convsmith.data.scan import Header
from convsmith.data.shuffle import generator
from convsmith.errors import UserError


def divided(rows: Sequence[tuple[Item, Header]], val: float, seed: int) -> list[tuple[Item, Header]]:
    """Give every item a split; those without one are divided, stratified by class."""
    known = {item.split for item, _ in rows}
    if None in known:
        fresh = [number for number, (item, _) in enumerate(rows) if item.split is None]
    elif "val" not in known:
        fresh = [number for number, (item, _) in enumerate(rows) if item.split == "train"]
    else:
        return list(rows)
    chosen = stratified(_strata([rows[number][0] for number in fresh]), val, seed)
    split = {number: "val" if is_val else "train" for number, is_val in zip(fresh, chosen)}
    return [(replace(item, split=split.get(n, item.split)), header) for n, (item, header) in enumerate(rows)]


def _strata(items: Sequence[Item]) -> list[str]:
    """What both sides shall have alike: the classes, or up to ten ranges of the first target."""
    if any(item.target is None for item in items):
        return [item.label for item in items]
    order = sorted(range(len(items)), key=lambda number: (items[number].target, str(items[number].path)))
    groups = max(1, min(10, len(items) // 10))
    strata = [""] * len(items)
    for place, number in enumerate(order):
        strata[number] = str(place * groups // len(items))
    return strata


def stratified(labels: Sequence[str], val: float, seed: int) -> list[bool]:
    """Which of the rows go to val: of each class its share, and at least one on each side."""
    counts = Counter(labels)
    draws = generator(seed)
    for label, count in sorted(counts.items()):
        if count < 2 and len(counts) > 1:
            raise UserError(
                f"class {label!r} has {count} image; a split needs at least 2. Add images or drop it with "
                f"--set 'data.exclude=[{label}]'"
            )
    chosen = [False] * len(labels)
    for label in sorted(counts):
        rows = [row for row, own in enumerate(labels) if own == label]
        if len(rows) < 2:
            continue
        share = min(len(rows) - 1, max(1, round(val * len(rows))))
        for place in torch.randperm(len(rows), generator=draws)[:share].tolist():
            chosen[rows[place]] = True
    return chosen
