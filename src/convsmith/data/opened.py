"""From files to a data set: new from a recipe, or for a trained net."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import xxhash
from torch import Tensor

from convsmith import catalog
from convsmith import recipe as recipes
from convsmith.data import builtin, degrade, layout, remarks, table, targets
from convsmith.data.dataset import Dataset
from convsmith.data.decoded import Once, decoded, here, levels_of, room_for_contents
from convsmith.data.division import divide
from convsmith.data.fit import chosen_fit, shape_findings
from convsmith.data.item import Item
from convsmith.data.moments import measure
from convsmith.data.scan import (
    GREY_MODES,
    Header,
    Track,
    broken_findings,
    duplicate_findings,
    no_track,
    scan,
)
from convsmith.data.side import Enlarged, common_size, side_of_store
from convsmith.data.signature import Signature
from convsmith.data.targets import Encoding
from convsmith.errors import UserError, nearest, shown
from convsmith.nn.normalizer import Normalizer


def open_data(
    section: recipes.Data,
    *,
    seed: int = 0,
    recorded: Mapping[str, str] | None = None,
    settled: Mapping[str, str] | None = None,
    shared: bool = False,
    enlarged: Enlarged | None = None,
    once: Once = here,
    track: Track[list[Path]] = no_track,
) -> Dataset:
    """Open the images that ``section.path`` names as a new data set: scan, decode and split them.

    Args:
        section: the recipe's ``data``.
        seed: of long tails and wrong labels that are made on purpose.
        recorded: the side on which an image of this digest was in an earlier run, which it keeps.
        settled: of a training that goes on, the side of each file by its name within DATA; nothing is divided
            then.
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
    column = table.group_column(root, section.group)
    found = layout.survey(root, column)
    items = listed = _without(found.items, section.exclude)
    contents = room_for_contents()
    rows, broken = once(lambda: scan(items, track, contents))
    remarks.refuse_empty(rows, broken, root)
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
    usable = [rows[number] for number in good]
    division = once(lambda: divide(usable, good, store, root, column, section, recorded or {}, settled))
    if division.why:
        reasons["data.group"] = division.why
    items, made = degrade.degraded(division.items, section, seed)
    split = [(item, header) for item, (_, header) in zip(items, usable)]
    remarks.refuse(split, root)
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
            *remarks.unused_findings(root, found.unused),
            *remarks.empty_folders(root, found.items),
            *remarks.hopeless_classes(listed, [rows[number][0] for number in good]),
            *division.findings,
            *duplicate_findings([row for row in split if row[0].split]),
            *remarks.tiny_classes(split),
            *shape_findings(shapes, fit),
            *store.findings,
            *made,
        ],
        reasons=reasons,
        columns=table.target_names(root),
        encoding=encoding,
        costs=_cost_matrix(section, classes, encoding, [item for item, _ in split]),
        cost_classes=_cost_classes(root, classes),
        stored=stored,
        sides=_sides([header for _, header in rows]),
        left_out=[file.path for file in broken],
        digests=[header.digest for _, header in rows],
        group=division.group,
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
        digests=[header.digest for _, header in rows],
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
    names = table.cost_names(root)
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
    columns = table.target_names(root)
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
