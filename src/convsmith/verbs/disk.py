"""A full disk while something is written: one sentence, and how to go on."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from convsmith.errors import UserError, shown

DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than allowed",
}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise UserError(
            f"{DISK_ERRORS[error.errno]} ({error.filename or shown(path)}); make room, then go on with: "
            f"convsmith train --out {shown(path)} --resume"
        ) from None
