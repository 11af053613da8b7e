"""Splitting images into train, val, floor and test, where the layout gives no split.

An image's side follows from a hash of its content, or of the group that it belongs to: it stays where it is
when others are added or taken away, when it is renamed, and when the folder moves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import xxhash

from convsmith import recipe as recipes
from convsmith.data.item import Item
from convsmith.data.represented import represented
from convsmith.data.scan import Header
from convsmith.errors import UserError, shown
from convsmith.findings import Finding

# Where an image may be put. None: it is left out.
Side = str | None
# Rows of images -> pairs of them, by place, that are nearly equal.
Near = Callable[[Sequence[int]], Sequence[tuple[int, int]]]
# The order of sides of which an image that was on several may keep one: what was trained on tests nothing.
FIRST = ("train", "val", "floor", "test")


def share(key: str, seed: int, salt: str = "") -> float:
    """A number in [0, 1) that depends on nothing but the arguments.

    >>> share("a", 0) == share("a", 0) != share("a", 1)
    True
    """
    return int(xxhash.xxh3_64_intdigest(f"{seed}\0{salt}\0{key}".encode("utf-8", "surrogateescape"))) / 2**64


def divided(
    rows: Sequence[tuple[Item, Header]],
    section: recipes.Data,
    *,
    groups: Sequence[str | None],
    near: Near,
    recorded: Mapping[str, str],
) -> tuple[list[Item], list[Finding]]:
    """Give every item a split; those to which the layout gives none are divided.

    Args:
        rows: items with their headers.
        section: the recipe's ``data``, whose ``val``, ``test`` and ``floor`` are shares, and whose ``seed``
            moves the split.
        groups: of each item, what it belongs to; None where it stands for itself.
        near: finds nearly equal images among those that are divided.
        recorded: the side on which an image of this digest was in an earlier run, which it keeps.

    Returns:
        the items; those that are left out have no split.

    Raises:
        UserError: if a class can't be divided, or the layout has a test split and the recipe wants one.
    """
    items = [item for item, _ in rows]
    known = {item.split for item in items}
    if section.test and "test" in known:
        raise UserError("the images have a test split already; leave out data.test")
    own = None if None in known else "train"
    shares = {"val": 0.0 if own and "val" in known else section.val, "test": section.test}
    findings: list[Finding] = []
    if own is None or any(shares.values()):
        fresh = [number for number, item in enumerate(items) if item.split == own]
        sides, findings = _sides(fresh, rows, groups, near, recorded, shares, section.seed)
        for number, side in zip(fresh, sides):
            if side != own:
                items[number] = replace(items[number], split=side)
    if section.floor:
        items = _with_floor(items, rows, groups, section)
    return items, findings


@dataclass(slots=True)
class Unit:
    """Images that stay together: those of one group, or of one content; ``place`` is its hash in [0, 1)."""

    place: float
    members: list[int]
    recorded: str | None
    side: str = ""


def _sides(
    fresh: Sequence[int],
    rows: Sequence[tuple[Item, Header]],
    groups: Sequence[str | None],
    near: Near,
    recorded: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
) -> tuple[list[Side], list[Finding]]:
    """The sides of ``fresh`` rows, in their order."""
    # What a run has recorded was there before, then the older file: newer ones find their places beside them.
    ages = [
        (rows[row][1].digest not in recorded, rows[row][1].modified, rows[row][1].digest) for row in fresh
    ]
    digests = [rows[row][1].digest for row in fresh]
    units = _units([groups[row] for row in fresh], digests, ages, recorded, seed)
    pairs = [*near(fresh), *_exact(digests)]
    of = {member: number for number, unit in enumerate(units) for member in unit.members}
    beside = _beside(pairs, of)
    for number, unit in enumerate(units):
        around = {units[other].side for other in beside.get(number, ())} - {""}
        unit.side = unit.recorded or (around.pop() if len(around) == 1 else _own_side(unit.place, shares))
    gone: dict[int, int] = {}
    for pair in pairs:
        older, newer = sorted(pair, key=ages.__getitem__)
        if units[of[older]].side != units[of[newer]].side:
            gone.setdefault(newer, older)
    labels = [rows[row][0].label for row in fresh]
    kept = [unit.members for unit in units]
    for newer in gone:
        kept[of[newer]] = [member for member in kept[of[newer]] if member != newer]
    needed = ["train", *(name for name, wanted in shares.items() if wanted)]
    sides = [unit.side for unit in units]
    linked = {
        number: [other for other in others if sides[other] == sides[number]]
        for number, others in beside.items()
    }
    moved = represented(
        sides,
        [[labels[member] for member in members] for members in kept],
        [unit.place for unit in units],
        linked,
        needed,
    )
    found: list[Side] = [None] * len(fresh)
    for members, side in zip(kept, sides):
        for member in members:
            found[member] = side
    pictures = [(rows[fresh[newer]][0], rows[fresh[older]][0]) for newer, older in gone.items()]
    return found, [*_left_out(pictures), *_few(moved, len(set(labels)))]


def _units(
    groups: Sequence[str | None],
    digests: Sequence[str],
    ages: Sequence[tuple[bool, int, str]],
    recorded: Mapping[str, str],
    seed: int,
    salt: str = "",
) -> list[Unit]:
    """Images by what they belong to, the oldest first."""
    found: dict[str, Unit] = {}
    for number in sorted(range(len(digests)), key=ages.__getitem__):
        group = groups[number]
        key = digests[number] if group is None else f"group\0{group}"
        unit = found.get(key)
        if unit is None:
            unit = found[key] = Unit(share(key, seed, salt), [], None)
        unit.members.append(number)
        before = recorded.get(digests[number])
        if before is not None and (unit.recorded is None or FIRST.index(before) < FIRST.index(unit.recorded)):
            unit.recorded = before
    return list(found.values())


def _own_side(place: float, shares: Mapping[str, float]) -> str:
    """The side of what stands alone: val lies below, test above, so that neither moves the other."""
    if place < shares["val"]:
        return "val"
    return "test" if place >= 1 - shares["test"] else "train"


def _exact(digests: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of files of the same content, which groups may have put apart."""
    first: dict[str, int] = {}
    found = []
    for number, digest in enumerate(digests):
        if first.setdefault(digest, number) != number:
            found.append((first[digest], number))
    return found


def _beside(pairs: Iterable[tuple[int, int]], of: Mapping[int, int]) -> dict[int, set[int]]:
    """For each unit those that hold nearly equal images."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for one, other in pairs:
        if of[one] != of[other]:
            found[of[one]].add(of[other])
            found[of[other]].add(of[one])
    return found


def _with_floor(
    items: Sequence[Item],
    rows: Sequence[tuple[Item, Header]],
    groups: Sequence[str | None],
    section: recipes.Data,
) -> list[Item]:
    """The items with a share of val set aside, by a hash of its own: val and train are as without it."""
    val = [number for number, item in enumerate(items) if item.split == "val"]
    digests = [rows[number][1].digest for number in val]
    ages = [(False, 0, digest) for digest in digests]
    units = _units([groups[number] for number in val], digests, ages, {}, section.seed, "floor")
    sides = ["floor" if unit.place < section.floor else "val" for unit in units]
    labels = [[items[val[member]].label for member in unit.members] for unit in units]
    represented(sides, labels, [unit.place for unit in units], {}, ("val", "floor"), strict=False)
    found = list(items)
    for unit, side in zip(units, sides):
        for member in unit.members:
            found[val[member]] = replace(found[val[member]], split=side)
    return found


def _left_out(pairs: Sequence[tuple[Item, Item]]) -> list[Finding]:
    if not pairs:
        return []
    examples = ", ".join(f"{shown(newer.path)} = {shown(older.path)}" for newer, older in pairs[:3])
    more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return [
        Finding(
            seen=f"{_images(len(pairs))} nearly equal to one on the other side of the split, and left out: "
            f"{examples}{more}",
            means="training on one and validating on the other would measure memory",
            change="delete one of each",
            why="the newer file is left out, so that no older one changes its side",
            source="thumbnails compared, mirrored ones too",
            name="copies_left_out",
        )
    ]


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def _few(moved: Mapping[str, Sequence[str]], classes: int) -> list[Finding]:
    found = []
    for side, labels in moved.items():
        names = ", ".join(shown(label) for label in labels[:3]) + (", ..." if len(labels) > 3 else "")
        of = (
            f"{len(labels)} of {classes} classes had no image in {side}"
            if classes > 1
            else f"no image was in {side}"
        )
        found.append(
            Finding(
                seen=f"{of} by the share alone; one of each was put there{f': {names}' if names else ''}",
                means="what is said of such a class rests on one image or few",
                change="add images of it",
                why="an image's side follows from its own content, so small classes are divided unevenly",
                source="splits",
                name="uneven_split",
            )
        )
    return found
