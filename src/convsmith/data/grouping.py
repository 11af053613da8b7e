"""What belongs together and so stays on one side of the split: patients, bursts, videos, scenes."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from convsmith.data.item import Item
from convsmith.data.layout import name_within
from convsmith.errors import UserError, shown

Groups = Sequence[str | None]
# The name up to its last number, with which cameras and scripts count the pictures of one thing.
STEM = r"([^/]*?)[-_. ]*\d+\.[^./]*$"
# Images whose nearest neighbors are looked for, and the fewest groups of several images that say anything.
ASKED, FEWEST = 2000, 8
# A grouping is taken where so many more nearest neighbors than by chance are of the image's own group, and so
# many standard errors.
MORE, SURE = 0.25, 6.0


def grouped(
    items: Sequence[Item], root: Path, column: str | None, wanted: str | None, look: Callable[[], Tensor]
) -> tuple[Groups, str, str]:
    """What each item belongs to.

    Args:
        items: of one data set.
        root: DATA, within which paths are matched.
        column: of its CSV from which the items' own ``group`` was read; None if it has none of that name.
        wanted: ``data.group`` of the recipe.
        look: gives the items' thumbnails (N, 256), for ``auto``.

    Returns:
        for each item its group or None; the recipe's word for it; why it was chosen, empty where the recipe
        says it.

    Raises:
        UserError: if there is no such column and the word is no pattern, or if all items are in one group.
    """
    if wanted is None or wanted == "none":
        return [None] * len(items), "none", ""
    if wanted == "auto":
        return _chosen(items, root, column, look)
    found = _named(items, root, column, wanted)
    if len(set(found)) < 2 and len(items) > 1:
        what = (
            f"all images are of the group {shown(repr(found[0]))}"
            if found[0] is not None
            else "no path matches"
        )
        raise UserError(
            f"`data.group={wanted}` doesn't divide the images: {what}; give a column of the CSV, parent, a "
            f"regular expression for paths such as {shown(_within(items[0], root))}, or none"
        )
    return found, wanted, ""


def _named(items: Sequence[Item], root: Path, column: str | None, wanted: str) -> list[str | None]:
    if wanted == column:
        return [item.group for item in items]
    if wanted == "parent":
        return [_within(item, root).rpartition("/")[0] for item in items]
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise UserError(
            f"`data.group={wanted}` is neither a column of the CSV nor a regular expression ({error})"
        ) from None
    return [_matched(pattern, _within(item, root)) for item in items]


def _within(item: Item, root: Path) -> str:
    return name_within(item.path, root.absolute())


def _matched(pattern: re.Pattern[str], path: str) -> str | None:
    found = pattern.search(path)
    if found is None:
        return None
    return found.group(1) if pattern.groups and found.group(1) is not None else found.group(0)


def _chosen(
    items: Sequence[Item], root: Path, column: str | None, look: Callable[[], Tensor]
) -> tuple[Groups, str, str]:
    """The grouping that a column names, else one that the pictures bear out."""
    found: Groups = [item.group for item in items]
    if column is not None and len(set(found)) > 1:
        count = len({group for group in found if group is not None})
        return (
            found,
            column,
            f"the CSV says in its column {shown(column)} what belongs together: {count:,} groups",
        )
    best: tuple[float, Groups, str, str] | None = None
    for word in ("parent", STEM):
        found = _named(items, root, column, word)
        if not _several(found, items):
            continue
        share, chance, sure = kinship(look(), found, [item.label for item in items])
        if share - chance >= MORE and sure >= SURE and (best is None or share - chance > best[0]):
            count = len({group for group in found if group is not None})
            where = "folders within the classes" if word == "parent" else "numbered names"
            why = (
                f"{where} form {count:,} groups, and for {share:.0%} of the images the most similar one of "
                f"the class is of the same group, by chance for {chance:.0%}: they stay on one side"
            )
            best = share - chance, found, word, why
    return ([None] * len(items), "none", "") if best is None else best[1:]


def _several(groups: Groups, items: Sequence[Item]) -> bool:
    """Whether there are groups enough of several images, in each class more than one."""
    sizes = Counter(group for group in groups if group is not None)
    own: defaultdict[str, set[str | None]] = defaultdict(set)
    for group, item in zip(groups, items):
        own[item.label].add(group)
    return sum(count > 1 for count in sizes.values()) >= FEWEST and all(
        len(found) > 2 for found in own.values()
    )


def kinship(small: Tensor, groups: Groups, labels: Sequence[str]) -> tuple[float, float, float]:
    """How often the nearest image of the same class is of the same group.

    Args:
        small: thumbnails (N, D).
        groups: of the images; None stands alone.
        labels: of the images.

    Returns:
        the share, the share by chance, and by how many standard errors they differ.

    >>> small = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    >>> kinship(small, ["a", "a", "b", "b"], ["x"] * 4)[:2]
    (1.0, 0.3333333333333333)
    """
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        rows[label].append(row)
    right = expected = variance = count = 0.0
    for own in rows.values():
        own = own[:: max(1, math.ceil(len(own) * len(rows) / ASKED))] if len(small) > ASKED else own
        if len(own) < 2:
            continue
        distances = torch.cdist(small[own].float(), small[own].float())
        distances.fill_diagonal_(math.inf)
        nearest_ones = distances.argmin(1).tolist()
        sizes = Counter(groups[row] for row in own)
        for place, row in enumerate(own):
            group = groups[row]
            if group is None or sizes[group] < 2:
                continue
            chance = (sizes[group] - 1) / (len(own) - 1)
            right += groups[own[nearest_ones[place]]] == group
            expected += chance
            variance += chance * (1 - chance)
            count += 1
    if count == 0:
        return 0.0, 0.0, 0.0
    return right / count, expected / count, (right - expected) / math.sqrt(max(variance, 1e-12))
