"""A run's directory: its files, its lock, and atomic writes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from convsmith.data.atomic import try_writing, write
from convsmith.data.item import Item
from convsmith.data.table import COST
from convsmith.errors import UserError, expect, shown

A = TypeVar("A")


class RunDirectory:
    """A run's files: their paths, reading and writing. The README says what each file holds."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        expect("run", path, (str, os.PathLike), "a run's folder")
        self.path = Path(path).expanduser()
        self._lock: FileLock | None = None

    @classmethod
    def of(cls, place: str | Path) -> RunDirectory:
        """Find the run of a folder or of a file in it."""
        run = cls(place)
        return run if run.path.is_dir() else cls(run.path.parent)

    recipe = property(lambda self: self.path / "recipe.yaml")
    data = property(lambda self: self.path / "data.json")
    files = property(lambda self: self.path / "files.csv")
    metrics = property(lambda self: self.path / "metrics.csv")
    steps = property(lambda self: self.path / "steps.csv")
    health = property(lambda self: self.path / "health.csv")
    weights = property(lambda self: self.path / "model.safetensors")
    source = property(lambda self: self.path / "source")
    model = property(lambda self: self.path / "model.json")
    checkpoint = property(lambda self: self.path / "last.ckpt")
    report = property(lambda self: self.path / "report.html")
    confusion = property(lambda self: self.path / "confusion.csv")
    inspection = property(lambda self: self.path / "inspection.html")
    environment = property(lambda self: self.path / "environment.json")

    @property
    def begun(self) -> bool:
        """Whether a training has described itself here; a recipe alone may be one that the user wrote."""
        return bool(self.recipe.exists() and self.data.exists())

    def open_new(self) -> None:
        """Create the directory and lock it.

        Raises:
            UserError: if it can't be written, holds a run already, or is in use.
        """
        self._make()
        self.lock()
        if self.begun:
            raise UserError(
                f"{shown(self.path)} already holds a run; go on with `resume`, or choose another `out`"
            )
        if any(not child.name.startswith(".") for child in self.path.iterdir()):
            raise UserError(
                f"{shown(self.path)} holds other files; choose a new or an empty folder for `out`"
            )

    def open_existing(self) -> None:
        """Lock a directory that holds a run.

        Raises:
            UserError: if there is none, or it is in use.
        """
        if not self.begun:
            raise UserError(f"{shown(self.path)} holds no run to resume; start one without `resume`")
        self._make()
        self.lock()

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try_writing(self.path / "model.safetensors")
        except OSError as error:
            raise UserError(
                f"cannot write to {shown(self.path)} ({error.strerror}); choose another folder for `out`"
            ) from None

    def lock(self) -> None:
        """Hold the directory until this process ends; the system lets go when it dies."""
        self._lock = FileLock(self.path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{shown(self.path)} is in use by another process; wait for it, or choose another `out`"
            ) from None

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def withdraw(self, *, folder: bool) -> None:
        """Take back what a start has written that failed before anything was learned.

        Args:
            folder: whether the run's folder was made for it, and goes too.
        """
        if self.checkpoint.exists() or self.metrics.exists():
            return
        own = (self.recipe, self.data, self.files, self.environment, self.weights, self.model)
        for file in (*own, self.steps, self.health, self.confusion):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.source, ignore_errors=True)
        if folder:
            self.unlock()
            (self.path / ".lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else lies in it
                self.path.rmdir()

    def forget(self) -> None:
        """Delete what a training has written, before it is started again."""
        for file in (self.recipe, self.metrics, self.steps, self.health, self.checkpoint):
            file.unlink(missing_ok=True)

    def write_json(self, path: Path, content: Any) -> None:
        write(path, json.dumps(content, indent=1) + "\n")

    @staticmethod
    def metric_columns(rows: Sequence[Mapping[str, float]]) -> list[str]:
        """The columns of metrics.csv: the last epoch's, and those that only earlier rows have."""
        columns = dict.fromkeys(rows[-1] if rows else ())
        return [*columns, *(name for row in rows for name in row if name not in columns)]

    def write_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write all epochs so far, one row each, in the place of what was there; no file if there are none.

        What a row lacks is nan.
        """
        if not rows:
            self.metrics.unlink(missing_ok=True)
            return
        columns = self.metric_columns(rows)
        self.write_table(self.metrics, columns, ([row.get(key, "nan") for key in columns] for row in rows))

    def read_metrics(self) -> list[dict[str, float]]:
        return [
            {key: float(value) for key, value in row.items() if value != ""}
            for row in self.read_table(self.metrics)
        ]

    def append_table(self, path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add rows to one of the run's tables, with its header if it is new; not whole if this process
        dies.
        """
        text = io.StringIO()
        writer = csv.writer(text)
        if not path.exists():
            writer.writerow(columns)
        writer.writerows(rows)
        with open(path, "a", newline="", encoding="utf-8") as stream:
            stream.write(text.getvalue())

    def write_table(self, path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(columns)
        writer.writerows(rows)
        write(path, text.getvalue())

    def read_table(self, path: Path) -> list[dict[str, str]]:
        """Read the rows of one of the run's tables; an empty list if there is no file.

        A last row that was cut, as a killed process leaves it, counts as not there.

        Raises:
            UserError: if it is damaged.
        """
        if not path.exists():
            return []
        try:
            with open(path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read()
            whole = text[: text.rfind("\n") + 1] if text.count("\n") > 1 else text
            return list(csv.DictReader(io.StringIO(whole, newline="")))
        except (OSError, csv.Error) as error:
            raise UserError(f"{shown(path)} is damaged ({error}); delete it, or restore it") from None

    def write_confusion(self, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """Write the validation confusion, true class by row; a later run can take class weights or costs
        from it.
        """
        rows = ([name, *row] for name, row in zip(classes, counts))
        self.write_table(self.confusion, ["true", *classes], rows)

    def write_files(
        self,
        items: Sequence[Item],
        columns: Sequence[str] = (),
        cost_classes: Sequence[str] = (),
        left_out: Sequence[Path] = (),
        digests: Sequence[str] = (),
    ) -> None:
        """Write which file is in which split; ``columns`` name numeric targets, ``cost_classes`` the costs.

        ``digests`` are of the items' bytes, if they are known.

        Files without a split and those ``left_out`` are listed with an empty split, so that they count as
        known.
        """
        numbers = [f"target_{name}" for name in columns] + [f"{COST}{name}" for name in cost_classes]
        rows = (
            [
                str(item.path.absolute()),
                item.label,
                item.split or "",
                digest,
                *(item.target or ()),
                *(item.costs or ()),
            ]
            for item, digest in zip(items, digests or [""] * len(items))
        )
        gone = ([str(path.absolute()), "", "", "", *[0] * len(numbers)] for path in left_out)
        self.write_table(self.files, ["path", "label", "split", "digest", *numbers], [*rows, *gone])

    def read_files(self) -> list[Item]:
        """Read the images of the run's splits.

        Raises:
            UserError: if the table is missing or damaged.
        """
        return [item for item in self._read_files() if item.split]

    def read_left_out(self) -> list[Path]:
        """Read the files that were there when the run began and are in no split."""
        return [item.path for item in self._read_files() if not item.split]

    def read_sides(self) -> list[tuple[Path, str, str]]:
        """Read each file's path, its split ("" if it has none) and its digest ("" in old runs)."""
        return [(Path(row["path"]), row["split"], row.get("digest") or "") for row in self._file_rows(dict)]

    def _read_files(self) -> list[Item]:
        return self._file_rows(_item)

    def _file_rows(self, of: Callable[[dict[str, str]], A]) -> list[A]:
        try:
            with open(self.files, newline="", encoding="utf-8", errors="surrogateescape") as stream:
                return [of(row) for row in csv.DictReader(stream)]
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise UserError(
                f"{shown(self.files)} is missing or damaged ({error}); restore it from a copy"
            ) from None

    def read_json(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"there is no {shown(path)}; is {shown(self.path)} a run?") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{shown(path)} is damaged ({error}); train again, or restore it") from None


def _item(row: Mapping[str, str]) -> Item:
    target = tuple(float(value) for name, value in row.items() if name.startswith("target_"))
    costs = tuple(float(value) for name, value in row.items() if name.startswith(COST))
    return Item(Path(row["path"]), row["label"], row["split"], target or None, costs or None)


def environment() -> dict[str, Any]:
    """Describe versions, machine and command."""
    packages = (
        "convsmith",
        "torch",
        "torchvision",
        "timm",
        "lightning-fabric",
        "numpy",
        "pillow",
        "scikit-learn",
    )
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "python": platform.python_version(),
        "packages": versions,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "command": sys.argv,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
