"""Writing files that the user named, with a clear sentence for each error."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convsmith.data.atomic import write
from convsmith.errors import UserError, shown

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


def save(target: Path, content: str | bytes) -> None:
    """Write a file that the user named, whole or not at all.

    Raises:
        UserError: if its folder isn't there, it is a folder itself, or the disk is full.
    """
    if target.is_dir():
        raise UserError(f"{shown(target)} is a folder; name a file in it")
    with disk_errors(target, "try again"):
        try:
            write(target, content)
        except FileNotFoundError:
            raise UserError(
                f"there is no folder {shown(target.parent)}; make it, or choose another `out`"
            ) from None


def save_arrays(target: Path, **arrays: Any) -> None:
    """Write numpy arrays by name to an ``.npz`` file, whole or not at all.

    Raises:
        UserError: as :func:`save`.
    """
    import numpy as np

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    save(target, stream.getvalue())
