"""Writing files that the user named, with a clear sentence for each error."""

from __future__ import annotations

import contextlib
import errno
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from convsmith.data.atomic import write, writing
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
    """The path of a file that a user named for what a verb will write: asked before the work, not after it.

    Raises:
        UserError: if there is such a file already, or its folder isn't there. Pipes and devices are taken.
    """
    place = Path(target).expanduser()
    _refuse_folders(place)
    if place.is_file():
        raise UserError(f"{shown(place)} is there already; choose another name, or delete it first")
    return place


def _refuse_folders(target: Path) -> None:
    if target.is_dir():
        raise UserError(f"{shown(target)} is a folder; name a file in it")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {shown(target.parent)}; make it, or choose another `out`")


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
