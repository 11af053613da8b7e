"""From files to a data set: new from a recipe, or for a trained net."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import xxhash
from torch import Tensor

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data import builtin, degrade, layout, targets
from convsmith.data.dataset import Dataset
from convsmith.data.decoded import Once, decoded, here, levels_of, room_for_contents
from convsmith.data.fit import chosen_fit, shape_findings
from convsmith.data.layout import Item
from convsmith.data.moments import measure
from convsmith.data.scan import (
    GREY_MODES,
    Broken,
    Header,
    Track,
    broken_findings,
    duplicate_findings,
    no_track,
    scan,
)
from convsmith.data.side import Enlarged, common_size, side_of_store
from convsmith.data.signature import Signature
from convsmith.data.splitting import divided
from convsmith.data.targets import Encoding
from convsmith.errors import UserError, nearest, shown
from convsmith.findings import Finding
from convsmith.nn.normalizer import Normalizer


def open_data(
    section: recipes.Data,
    *,
    seed: int = 0,
    shared: bool = False,
    enlarged: Enlarged | None = None,
    once: Once = here,
    track: Track[list[Path]] = no_track,
) -> Dataset:
    """Open the images that ``section.path`` names as a new data set: scan, decode and split them.

    Args:
        section: the recipe's ``data``.
        seed: of the split into train and val, where the layout gives none.
        shared: several processes will read the pixels.
        enlarged: the side that the net to be trained wants for images of so many pixels, and why, where the
            recipe leaves ``size`` open; None where it wants no other.
        once: runs work in one of several processes, and gives its result to all.
        track: shows progress.

    Raises:
        UserError: if there are no images, only one class, a class without images in train or val, or
            a class too small to split.
    """
    root = locate(section.path)
    found = layout.find(root)
    items = _without(found, section.exclude)
    contents = room_for_contents()
    rows, broken = once(lambda: scan(items, track, contents))
    _refuse_empty(rows, broken, root)
    reasons: dict[str, str] = {}
    headers = [header for _, header in rows]
    shapes = [(header.width, header.height) for header in headers]
    fit = section.fit or chosen_fit(shapes, reasons)
    levels = section.levels or levels_of(rows, reasons, once)
    size = section.size or common_size(headers, reasons, enlarged, fit)
    stored = section.stored or side_of_store(section, size, headers, fit)
    if stored < size:
        raise UserError(f"data.stored={stored} is less than the size, {size}; leave it out, or raise it")
    channels = 1 if all(header.mode in GREY_MODES for _, header in rows) else 3
    store, good, damaged = decoded(
        rows,
        size=stored,
        channels=channels,
        fit=fit,
        levels=levels,
        memory=section.memory_share,
        disk=section.disk_share,
        workers=section.workers,
        shared=shared,
        kept=contents,
        once=once,
        track=track,
    )
    split = divided([rows[number] for number in good], section.val, seed, floor=section.floor)
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
        normalizer=_as_it_is(channels),
        fingerprint=_fingerprint(rows, root),
        findings=[
            *broken_findings([*broken, *damaged]),
            *_empty_findings(root, found),
            *duplicate_findings([row for row in split if row[0].split]),
            *_tiny_findings(split),
            *shape_findings(shapes, fit),
            *store.findings,
            *made,
        ],
        reasons=reasons,
        columns=layout.target_names(root),
        encoding=encoding,
        costs=_cost_matrix(section, classes, encoding, [item for item, _ in split]),
        cost_classes=_cost_classes(root, classes),
        stored=stored,
        sides=_sides([header for _, header in rows]),
        left_out=[file.path for file in broken],
        fit=fit,
        levels=levels,
    )
    dataset.normalizer = once(lambda: measure(dataset.train, section.normalize))
    return dataset


def open_items(
    items: Sequence[Item],
    signature: Signature,
    *,
    normalizer: Normalizer | None = None,
    encoding: Encoding | None = None,
    cost_classes: Sequence[str] = (),
    track: Track[list[Path]] = no_track,
) -> Dataset:
    """Open files with known labels as a data set for a trained net.

    Args:
        items: with their splits.
        signature: of the net: its classes and the images that it reads.
        normalizer: of the net, for those who make batches; None for raw pixels.
        encoding: of numeric targets, as the net was trained.
        cost_classes: the order of the items' own costs.
        track: shows progress.

    Raises:
        UserError: if no image can be used, or one is of a class that the net doesn't know.
    """
    _refuse_strange(items, signature)
    contents = room_for_contents()
    rows, broken = scan(items, track, contents)
    store, good, damaged = decoded(
        rows,
        size=signature.stored,
        channels=signature.channels,
        fit=signature.fit,
        levels=signature.levels,
        kept=contents,
        track=track,
    )
    if not good:
        first = f": {shown(broken[0].path)}: {broken[0].reason}" if broken else ""
        raise UserError(f"no usable images to evaluate{first}")
    kept = [replace(item, split=None) for item, _ in rows]
    for number in good:
        kept[number] = rows[number][0]
    known = set(signature.classes) <= set(cost_classes) and encoding is None
    return Dataset(
        classes=list(signature.classes),
        items=kept,
        store=store,
        size=signature.size,
        channels=signature.channels,
        normalizer=normalizer or _as_it_is(signature.channels),
        fingerprint="",
        findings=[*broken_findings([*broken, *damaged]), *store.findings],
        columns=list(signature.columns),
        encoding=encoding,
        cost_classes=list(cost_classes) if known else [],
        stored=signature.stored,
        sides=_sides([header for _, header in rows]),
        left_out=[file.path for file in broken],
        fit=signature.fit,
        levels=signature.levels,
    )


def _as_it_is(channels: int) -> Normalizer:
    return Normalizer(torch.zeros(channels), torch.ones(channels))


def _refuse_strange(items: Sequence[Item], signature: Signature) -> None:
    known = set(signature.classes)
    for item in items:
        if signature.columns:
            if len(item.target or ()) != len(signature.columns):
                raise UserError(
                    f"{shown(item.path)} has {len(item.target or ())} numeric targets; the model predicts "
                    f"{len(signature.columns)} ({', '.join(signature.columns)}). Give a CSV with them"
                )
        elif item.target is not None and not item.label:
            raise UserError(
                f"{shown(item.path)} has numeric targets, and the model predicts one of {len(known)} "
                f"classes; give a folder or a CSV with classes"
            )
        elif item.label not in known:
            raise UserError(
                f"{shown(item.path)} is of class {item.label!r}, which the model doesn't know; it knows "
                f"{', '.join(signature.classes[:10])}{', ...' if len(known) > 10 else ''}"
            )


def _cost_matrix(
    section: recipes.Data, classes: list[str], encoding: Encoding | None, items: Sequence[Item]
) -> Tensor | None:
    if section.costs is None:
        return None
    if encoding is not None:
        raise UserError("data.costs is for classes; the targets here are numbers")
    images = Counter(item.label for item in items if item.split == "train")
    counts = torch.tensor([images[label] for label in classes])
    matrix: Tensor = catalog.build("cost", section.costs, classes=classes, counts=counts)
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
    """Find the folder or CSV of the data; for a built-in name, its cached folder."""
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
            change=f"add images, or `data.exclude=[{', '.join(tiny[:3])}]`",
            why="what varies within a class can't be learned from one example",
            source="scan",
        )
    ]


def _empty_findings(root: Path, items: Sequence[Item]) -> list[Finding]:
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


def _refuse_empty(rows: Sequence[tuple[Item, Header]], broken: Sequence[Broken], root: Path) -> None:
    if rows:
        return
    first = f", e.g. {shown(broken[0].path)}: {broken[0].reason}" if broken else ""
    raise UserError(f"no usable images under {shown(root)}: {len(broken)} files were left out{first}")


def _refuse(rows: Sequence[tuple[Item, Header]], root: Path) -> None:
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
            raise UserError(
                f"class {missing[0]!r} has no usable image in {split}; add some, or drop it with "
                f"`data.exclude=[{missing[0]}]`"
            )


def _sides(headers: Sequence[Header]) -> tuple[int, int, int]:
    sides = [min(header.width, header.height) for header in headers]
    return min(sides), int(statistics.median(sides)), max(sides)


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
