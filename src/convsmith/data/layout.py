"""Which image files DATA holds, with the label and the split that its layout gives each."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.errors import UserError, shown

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
COST = "cost_"
# Columns of a CSV that say what belongs together, in the order in which they are asked for.
GROUPS = (
    *("group", "group_id", "patient", "patient_id", "patientid", "subject", "subject_id"),
    *("case_id", "video", "video_id", "scene", "scene_id"),
)


@dataclass(frozen=True)
class Item:
    """One image file; ``split`` is None where the layout doesn't say.

    Where the targets are numbers, ``target`` holds them and the label is empty. ``costs`` are what each
    decision about this image costs, in the order of the CSV's columns ``cost_CLASS``.
    """

    path: Path
    label: str
    split: str | None = None
    target: tuple[float, ...] | None = None
    costs: tuple[float, ...] | None = None
    group: str | None = None


def find(data: Path, group: str | None = None) -> list[Item]:
    """List the images of a folder or CSV, sorted by path; nothing is opened but the CSV.

    Args:
        data: a folder or a CSV.
        group: column of the CSV that says what belongs together.

    Layouts: ``CLASS/*.jpg``; ``train/CLASS/*.jpg`` with ``val/`` (or ``valid/``) and/or ``test/``; a CSV
    with the columns ``path`` (relative to the CSV) and ``label``, or numbers in ``target`` or several
    ``target_NAME``, and optionally ``split``; with labels also what each decision costs, ``cost_CLASS``.

    Raises:
        UserError: if there is nothing of the kind, with what was found.
    """
    items = _from_csv(data, group) if data.is_file() else _from_folder(data)
    if not items:
        raise UserError(
            f"no images under {shown(data)}; put them into one folder for each class, CLASS/*.jpg"
        )
    return sorted(items, key=lambda item: str(item.path))


def _from_folder(root: Path) -> list[Item]:
    folders = _subfolders(root)
    splits = {folder: SPLITS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLITS}
    # A class may be called "train" too (vehicles): its folder holds images, not folders.
    if any(split == "train" and _subfolders(folder) for folder, split in splits.items()):
        return [item for folder, split in splits.items() for item in _classes(folder, split)]
    if splits and len(splits) == len(folders) and all(_subfolders(folder) for folder in splits):
        raise UserError(f"{shown(root)} has {', '.join(f.name for f in splits)} but no train/ folder; add it")
    return list(_classes(root, None))


def _classes(root: Path, split: str | None) -> Iterator[Item]:
    for folder in _subfolders(root):
        for path in _files(folder):
            yield Item(path, folder.name, split)


def name_within(file: Path, root: Path | None) -> str:
    """A file's name within a folder, or beside a CSV; its whole path where it lies elsewhere."""
    parent = root if root is None or root.suffix.lower() != ".csv" else root.parent
    absolute = file.absolute()
    inside = parent is not None and absolute.is_relative_to(parent)
    return absolute.relative_to(parent).as_posix() if inside and parent is not None else absolute.as_posix()


def empty_classes(data: Path, items: Sequence[Item]) -> list[str]:
    """Folders in which images of a class should lie, and none does, as paths within ``data``."""
    if not data.is_dir():
        return []
    full = {item.path.relative_to(data).parts[: 2 if item.split else 1] for item in items}
    roots = [data / name for name in {parts[0] for parts in full if len(parts) == 2}] or [data]
    folders = (folder.relative_to(data) for root in sorted(roots) for folder in _subfolders(root))
    return [str(folder) for folder in folders if folder.parts not in full]


def _subfolders(folder: Path) -> list[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot read {shown(folder)}: {error.strerror}") from None
    return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _files(folder: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up the tree
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in names if not name.startswith(".") and name != "Thumbs.db")


def _from_csv(file: Path, group: str | None = None) -> list[Item]:
    if file.suffix.lower() != ".csv":
        raise UserError(f"{shown(file)} is a file but not a .csv; DATA is a folder, a CSV or a built-in name")
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip() for name in reader.fieldnames or []]
            rows = [[(value or "").strip() for value in list(row.values())[: len(columns)]] for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {shown(file)} as a UTF-8 CSV: {error}") from None
    targets = [name for name in columns if name.startswith("target")]
    costs = [name for name in columns if name.startswith(COST) and not targets]
    if "path" not in columns or bool(targets) == ("label" in columns):
        raise UserError(
            f"{shown(file)} needs the column path, and either label or numbers in target (or several "
            f"target_NAME), and optionally split; it has {', '.join(columns)}"
        )
    items = []
    for number, row in enumerate(rows, start=2):
        cells = dict(zip(columns, row))
        if not cells.get("path") or not (targets or cells.get("label")):
            raise UserError(f"{shown(file)}:{number}: a row needs a path and a label")
        items.append(
            Item(
                file.parent / cells["path"],
                cells.get("label", ""),
                _split_of(cells.get("split"), file, number),
                tuple(_number(cells.get(name, ""), name, file, number) for name in targets) or None,
                tuple(_cost(cells.get(name, ""), name, file, number) for name in costs) or None,
                cells.get(group) or None if group is not None else None,
            )
        )
    return items


def group_column(data: Path, wanted: str | None) -> str | None:
    """The column of a CSV that says what belongs together: of this name, for ``auto`` one of ``GROUPS``."""
    columns = _columns(data)
    if wanted == "auto":
        by_name = {name.lower(): name for name in columns}
        return next((by_name[name] for name in GROUPS if name in by_name), None)
    return wanted if wanted in columns else None


def target_names(data: Path) -> list[str]:
    """Names of the numeric targets of a CSV: ``target_NAME`` is NAME; none for classes."""
    targets = [name for name in _columns(data) if name.startswith("target")]
    return [name.removeprefix("target").lstrip("_.:") or "target" for name in targets]


def cost_names(data: Path) -> list[str]:
    """The classes that a CSV gives costs for, ``cost_CLASS``, in the order of ``Item.costs``."""
    columns = _columns(data)
    if any(name.startswith("target") for name in columns):
        return []
    return [name.removeprefix(COST) for name in columns if name.startswith(COST)]


def _columns(data: Path) -> list[str]:
    if not data.is_file():
        return []
    with open(data, newline="", encoding="utf-8-sig") as stream:
        return [name.strip() for name in next(csv.reader(stream), [])]


def _cost(text: str, column: str, file: Path, row: int) -> float:
    value = _number(text, column, file, row)
    if value < 0:
        raise UserError(f"{shown(file)}:{row}: {column} is {text}; a cost is a number >= 0")
    return value


def _number(text: str, column: str, file: Path, row: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{shown(file)}:{row}: {column} is {text!r}, not a number; mend it or drop the row")
    return value


def _split_of(word: str | None, file: Path, number: int) -> str | None:
    if not word:
        return None
    if word.lower() not in SPLITS:
        raise UserError(f"{shown(file)}:{number}: split {word!r} is none of train, val, test")
    return SPLITS[word.lower()]
