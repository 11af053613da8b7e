"""DATA as a CSV: which columns say what."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from convsmith.data.item import Item, split_word
from convsmith.errors import UserError, shown

COST = "cost_"
# Columns that say what belongs together, in the order in which they are asked for.
GROUPS = (
    *("group", "group_id", "patient", "patient_id", "patientid", "subject", "subject_id"),
    *("case_id", "video", "video_id", "scene", "scene_id"),
)


def read(file: Path, group: str | None) -> tuple[list[Item], list[str]]:
    """The images of a CSV, and its columns that aren't used, in words.

    Args:
        file: with the columns ``path`` and ``label``, or numbers in ``target`` or several ``target_NAME``.
        group: column that says what belongs together.

    Raises:
        UserError: on a row or a column that can't be right.
    """
    if file.suffix.lower() != ".csv":
        raise UserError(f"{shown(file)} is a file but not a .csv; DATA is a folder, a CSV or a built-in name")
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {shown(file)} as a UTF-8 CSV: {error}") from None
    columns = rows[0] if rows else []
    targets = [name for name in columns if name.startswith("target")]
    costs = [name for name in columns if name.startswith(COST) and not targets]
    if "path" not in columns or bool(targets) == ("label" in columns):
        raise UserError(
            f"{shown(file)} needs the column path, and either label or numbers in target (or several "
            f"target_NAME), and optionally split; it has {', '.join(map(shown, columns)) or 'none'}"
        )
    used = ["path", "label", "split", *targets, *costs, *([group] if group is not None else [])]
    for name in used:
        if columns.count(name) > 1:
            raise UserError(
                f"{shown(file)} has {columns.count(name)} columns {shown(repr(name))}; keep one of them"
            )
    items = [
        _item(dict(zip(columns, row)), file, number, group, targets, costs)
        for number, row in enumerate(rows[1:], start=2)
        if _is_row(row, columns, file, number)
    ]
    # An index that a tool has written has no name of its own.
    rest = [
        shown(name) for name in dict.fromkeys(columns) if name not in used and name and name != "Unnamed: 0"
    ]
    return items, [f"the columns {', '.join(rest)} of the CSV"] if rest else []


def _is_row(row: Sequence[str], columns: Sequence[str], file: Path, number: int) -> bool:
    if any(row[len(columns) :]):
        raise UserError(
            f"{shown(file)}:{number}: the row has {len(row)} cells, and there are {len(columns)} columns; "
            f"put what has a comma in it into quotes"
        )
    return bool(row)


def _item(
    cells: dict[str, str],
    file: Path,
    number: int,
    group: str | None,
    targets: Sequence[str],
    costs: Sequence[str],
) -> Item:
    if not cells.get("path") or not (targets or cells.get("label")):
        raise UserError(f"{shown(file)}:{number}: a row needs a path and a label")
    return Item(
        file.parent / cells["path"],
        cells.get("label", ""),
        _split_of(cells.get("split"), file, number),
        tuple(_number(cells.get(name, ""), name, file, number) for name in targets) or None,
        tuple(_cost(cells.get(name, ""), name, file, number) for name in costs) or None,
        (cells.get(group) or None) if group is not None else None,
    )


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
    # Names in any bytes: a run lists its files so.
    with open(data, newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
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
    found = split_word(word)
    if found is None or found.rest:
        raise UserError(f"{shown(file)}:{number}: split {shown(repr(word))} is none of train, val, test")
    return found.split
