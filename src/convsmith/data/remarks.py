"""What there is to say of DATA as a whole, and what can't be trained on at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from convsmith.data import layout
from convsmith.data.item import Item
from convsmith.data.represented import quoted
from convsmith.data.scan import Broken, Header
from convsmith.errors import UserError, shown
from convsmith.findings import Finding


def tiny_classes(rows: Sequence[tuple[Item, Header]]) -> list[Finding]:
    counts = Counter(item.label for item, _ in rows if item.split == "train" and item.target is None)
    tiny = [label for label, count in sorted(counts.items()) if count < 2]
    if not tiny:
        return []
    return [
        Finding(
            seen=f"{len(tiny)} of {len(counts)} classes have fewer than 2 training images: "
            f"{', '.join(tiny[:3])}",
            means="the net can only memorize them",
            change=f"add images, or `data.exclude={quoted(tiny)}`",
            why="what varies within a class can't be learned from one example",
            source="scan",
        )
    ]


def unused_findings(root: Path, unused: Sequence[str]) -> list[Finding]:
    if not unused:
        return []
    return [
        Finding(
            seen=f"not used of {shown(root)}: {'; '.join(unused)}",
            means="the net learns nothing from them",
            change="put pictures into folders of classes, or into train, val or test; or delete them",
            why="what a picture shows, its folder or the CSV says",
            source="scan",
            name="unused",
        )
    ]


def hopeless_classes(items: Sequence[Item], usable: Sequence[Item]) -> list[Finding]:
    """Finding about classes of which no file can be used."""
    here = {item.label for item in usable}
    counts = Counter(item.label for item in items if item.label not in here)
    if not counts:
        return []
    names = ", ".join(f"{shown(repr(label))} ({count:,} files)" for label, count in list(counts.items())[:3])
    return [
        Finding(
            seen=f"no usable image in {len(counts)} {'class' if len(counts) == 1 else 'classes'}: {names}"
            f"{', ...' if len(counts) > 3 else ''}",
            means="they are no classes of the net",
            change="replace their files, or delete the folders",
            why="a class is what has images",
            source="scan",
            name="no_usable_image",
        )
    ]


def empty_folders(root: Path, items: Sequence[Item]) -> list[Finding]:
    empty = [shown(name) for name in layout.empty_classes(root, items)]
    if not empty:
        return []
    more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
    return [
        Finding(
            seen=f"no images in {len(empty)} of the folders of classes: {', '.join(empty[:3])}{more}",
            means="they are no classes of the net",
            change="add images, or delete the folders",
            why="a class is what has images",
            source="scan",
            name="empty_folders",
        )
    ]


def refuse_empty(rows: Sequence[tuple[Item, Header]], broken: Sequence[Broken], root: Path) -> None:
    if rows:
        return
    first = f", e.g. {shown(broken[0].path)}: {broken[0].reason}" if broken else ""
    raise UserError(f"no usable images under {shown(root)}: {len(broken)} files were left out{first}")


def refuse(rows: Sequence[tuple[Item, Header]], root: Path) -> None:
    """Refuse data that can't be trained on."""
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
            one = len(missing) == 1
            what = f"class {missing[0]!r} has" if one else f"{len(missing)} classes have"
            raise UserError(
                f"{what} no usable image in {split}; add some, or drop {'it' if one else 'them'} with "
                f"`data.exclude={quoted(missing)}`"
            )
