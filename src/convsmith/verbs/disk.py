"""Writing what the user named: nothing that is there is replaced, and each error is a clear sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from convsmith.data.atomic import streams, try_writing, write, writing
from convsmith.errors import UserError, shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than allowed",
}
# What only convsmith's own pages hold: the title of a whole one, and how the part that `inspect` adds begins.
OWN_TITLE, OWN_PART = " · convsmith</title>", "<h2>Inside the net"


@contextlib.contextmanager
def disk_errors(path: Path, remedy: str | None = None) -> Iterator[None]:
    """Turn a full disk into a :class:`UserError` with a remedy, by default to resume the run in ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        remedy = remedy or f"go on with: `cs.train(out={shown(path)!r}, resume=True)`"
        raise UserError(
            f"{DISK_ERRORS[error.errno]} ({error.filename or shown(path)}); make room, then {remedy}"
        ) from None


def new_file(target: str | Path) -> Path:
    """The path of a file that the user named for what a verb will write: asked before the work, not after it.

    A pipe or a device may be named, too.

    Raises:
        UserError: if something is there already, be it a link to nowhere, or nothing can be written there.
    """
    place = Path(target).expanduser()
    with _possible(place):
        _refuse_folders(place)
        if not streams(place) and os.path.lexists(place):
            raise UserError(f"{shown(place)} is there already; choose another name, or delete it first")
        try_writing(place)
    return place


def new_folder(target: str | Path) -> Path:
    """The path of a folder that the user named for what a verb will write, a new or an empty one.

    It isn't made yet.

    Raises:
        UserError: if something is there already, or nothing can be written there.
    """
    place = Path(target).expanduser()
    with _possible(place):
        if place.is_dir():
            if any(not child.name.startswith(".") for child in place.iterdir()):
                raise UserError(f"{shown(place)} holds other files; choose a new or an empty folder")
        elif os.path.lexists(place):
            raise UserError(f"{shown(place)} is there already; choose another name for the new folder")
        try_writing(next(here for here in (place, *place.parents) if here.is_dir()) / "empty")
    return place


def own_page(place: Path) -> Path:
    """The path of a page that convsmith writes under a name of its own, again and again.

    Raises:
        UserError: if another file is there, which isn't replaced.
    """
    with _possible(place):
        _refuse_folders(place)
        if os.path.lexists(place) and not _is_own(place):
            raise UserError(
                f"{shown(place)} is there already, and isn't convsmith's; move it, or delete it first"
            )
        try_writing(place)
    return place


def _is_own(page: Path) -> bool:
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    return OWN_TITLE in text or text.startswith(OWN_PART)


@contextlib.contextmanager
def _possible(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {shown(place)} ({error.strerror}); choose another place") from None


def _refuse_folders(target: Path) -> None:
    if target.is_dir():
        raise UserError(f"{shown(target)} is a folder; name a file in it")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {shown(target.parent)}; make it, or choose another place")


def save(target: Path, content: str | bytes) -> None:
    """Write a file that the user named, whole or not at all.

    Raises:
        UserError: if its folder isn't there, it is a folder itself, or the disk is full.
    """
    with _named(target):
        write(target, content)


@contextlib.contextmanager
def _named(target: Path) -> Iterator[None]:
    """Turn what goes wrong with a file that the user named into a :class:`UserError`."""
    _refuse_folders(target)
    with disk_errors(target, "try again"):
        yield


def save_arrays(target: Path, first: tuple[str, int, Iterable[Array]], **others: Any) -> tuple[int, ...]:
    """Write numpy arrays by name to an ``.npz`` file, whole or not at all.

    Args:
        target: the file.
        first: name, length and parts of an array too large for memory; one part is held at a time.
        others: arrays by name.

    Returns:
        the shape of the first array.

    Raises:
        UserError: as :func:`save`.
    """
    import numpy as np

    name, count, parts = first
    with (
        _named(target),
        writing(target) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
            shape = _write_parts(entry, count, parts)
        for other, array in others.items():
            with archive.open(f"{other}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
    return shape


def _write_parts(stream: IO[bytes], count: int, parts: Iterable[Array]) -> tuple[int, ...]:
    """Write parts (n, ...) of an array (count, ...) as numpy does the whole."""
    import numpy as np

    shape: tuple[int, ...] = (count,)
    written = 0
    for part in parts:
        if not written:
            shape = (count, *part.shape[1:])
            header = {"descr": part.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(stream, header)
        stream.write(np.ascontiguousarray(part).data)
        written += len(part)
    assert written == count
    return shape
