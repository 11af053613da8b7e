"""The usable images of DATA, divided: what belongs together, what is nearly equal, and who judges whom."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from convsmith import recipe as recipes
from convsmith.data import layout
from convsmith.data.duplicates import copies
from convsmith.data.grouping import grouped
from convsmith.data.item import Item
from convsmith.data.pixels import Store
from convsmith.data.scan import Header
from convsmith.data.splitting import divided
from convsmith.data.thumbnails import thumbnails
from convsmith.findings import Finding


@dataclass(frozen=True)
class Division:
    """Items with their splits, the grouping that was kept together, why, and what was noticed."""

    items: list[Item]
    group: str
    why: str
    findings: list[Finding]


def divide(
    rows: Sequence[tuple[Item, Header]],
    places: Sequence[int],
    store: Store,
    root: Path,
    column: str | None,
    section: recipes.Data,
    recorded: Mapping[str, str],
    settled: Mapping[str, str] | None,
) -> Division:
    """Divide the usable rows, which lie at ``places`` of the store."""
    if settled is not None:
        sides = [_settled(item, header, root, settled, recorded) for item, header in rows]
        known = [replace(item, split=side) for (item, _), side in zip(rows, sides)]
        return Division(known, section.group or "none", "", [])
    small = functools.cache(lambda: thumbnails(store, torch.tensor(places)))
    items = [item for item, _ in rows]
    groups, word, why = grouped(items, root, column, section.group, small)

    def near(fresh: Sequence[int]) -> list[tuple[int, int]]:
        return copies(store, small()[list(fresh)], [places[row] for row in fresh])

    found, findings = divided(rows, section, groups=groups, near=near, recorded=recorded)
    return Division(found, word, why, findings)


def _settled(
    item: Item, header: Header, root: Path, settled: Mapping[str, str], recorded: Mapping[str, str]
) -> str | None:
    return settled.get(layout.name_within(item.path, root.absolute()), recorded.get(header.digest)) or None
