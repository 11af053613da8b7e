"""Each class on each side of the split, where it has images enough."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from convsmith.errors import UserError, shown


def represented(
    sides: list[str],
    labels: Sequence[Sequence[str]],
    places: Sequence[float],
    linked: Mapping[int, Collection[int]],
    needed: Sequence[str],
    *,
    strict: bool = True,
) -> dict[str, list[str]]:
    """Move units until each class is on every needed side, where it has units enough.

    A class that val lacks gives its unit of the lowest hash, one that train or test lacks that of the
    highest: no other unit moves it but one that is lower, or higher, still. It may leave a side for one that
    comes earlier in ``needed``; no other class loses one of the first two sides by it.

    Args:
        sides: of the units; changed in place.
        labels: classes of the images in the units.
        places: hashes of the units, in [0, 1).
        linked: of units those on their side that have to stay with them.
        needed: names of sides, the most important first.
        strict: whether a class that can't be on each of the first two needed sides is refused.

    Returns:
        for each side the classes that were moved to it.

    Raises:
        UserError: if ``strict``, naming all classes that can't be divided.
    """
    holders: defaultdict[str, list[int]] = defaultdict(list)
    images: Counter[tuple[str, str]] = Counter()
    for number, own in enumerate(labels):
        for label in own:
            images[label, sides[number]] += 1
            if holders[label][-1:] != [number]:
                holders[label].append(number)
    moved: dict[str, list[str]] = {}
    refused: dict[str, int] = {}
    for label in sorted(holders):
        for side in needed:
            if images[label, side]:
                continue
            order = sorted(holders[label], key=places.__getitem__, reverse=side not in ("val", "floor"))
            kept = {label: needed[: needed.index(side)]}
            found = (_cluster(first, linked) for first in order)
            free = (own for own in found if _spared(own, sides, labels, images, kept, needed[:2]))
            together = next(free, None)
            if together is not None:
                _move(together, side, sides, labels, images)
                moved.setdefault(side, []).append(label)
            elif strict and side in needed[:2]:
                refused[label] = sum(labels[number].count(label) for number in holders[label])
    if refused and (len(holders) > 1 or "" in holders):
        _refuse(refused, len(holders))
    return moved


def _cluster(first: int, linked: Mapping[int, Collection[int]]) -> set[int]:
    """A unit and all that have to stay with it."""
    found, open_ = {first}, [first]
    while open_:
        for other in linked.get(open_.pop(), ()):
            if other not in found:
                found.add(other)
                open_.append(other)
    return found


def _spared(
    together: Collection[int],
    sides: Sequence[str],
    labels: Sequence[Sequence[str]],
    images: Mapping[tuple[str, str], int],
    own: Mapping[str, Sequence[str]],
    others: Sequence[str],
) -> bool:
    """Whether units may leave their side: each class keeps the sides that ``own`` says, else ``others``."""
    taken: Counter[tuple[str, str]] = Counter()
    for number in together:
        for label in labels[number]:
            taken[label, sides[number]] += 1
    return all(
        images[label, side] > count or side not in own.get(label, others)
        for (label, side), count in taken.items()
    )


def _move(
    together: Collection[int],
    side: str,
    sides: list[str],
    labels: Sequence[Sequence[str]],
    images: Counter[tuple[str, str]],
) -> None:
    for number in together:
        for label in labels[number]:
            images[label, sides[number]] -= 1
            images[label, side] += 1
        sides[number] = side


def _refuse(images: Mapping[str, int], classes: int) -> None:
    """Refuse classes that can't be divided, all at once, with their numbers of images."""
    names = quoted(images)
    if set(images) == {""}:
        raise UserError(
            "the images can't be divided into train and val: they are one, or of one group; add some"
        )
    single = [label for label, count in images.items() if count < 2]
    if len(single) == len(images):
        one = len(single) == 1
        what = f"class {shown(repr(single[0]))} has 1 image" if one else f"{len(single)} classes have 1 image"
        raise UserError(
            f"{what}; a split needs at least 2. Add images, or drop {'it' if one else 'them'} with "
            f"`data.exclude={names}`"
        )
    raise UserError(
        f"{len(images)} of {classes} classes can't be divided into train and val, since their images "
        f"are copies of each other, or of one group; add others, or drop them with `data.exclude={names}`"
    )


def quoted(names: Iterable[str]) -> str:
    """Names as a list that a recipe reads as these names, whatever they look like.

    >>> quoted(["10", "a, b"])
    '["10", "a, b"]'
    """
    return json.dumps(list(names), ensure_ascii=False)
