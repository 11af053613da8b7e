"""Atomic writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def streams(path: Path) -> bool:
    """Whether a path is a pipe or a device, which is written to and never replaced.

    >>> streams(Path(os.devnull)), streams(Path("page.html"))
    (True, False)
    """
    return path.exists() and not path.is_file() and not path.is_dir()


def try_writing(path: Path) -> None:
    """Find out, before the work, whether :func:`writing` can begin; nothing stays of it.

    Raises:
        OSError: if it can't.
    """
    if not streams(path):
        partial = _partial(path)
        partial.touch()
        partial.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def write(path: Path, content: str | bytes) -> None:
    """Replace a file atomically: a reader, or a crash, leaves either the whole old file or the whole new one.

    Raises:
        OSError: if it can't be written; the old file is still there then.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with writing(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content replaces a file atomically, once it is whole; a pipe or a device is written to.

    Raises:
        OSError: if it can't be written; the old file is still there then, as after any error within.
    """
    if streams(path):
        with open(path, "wb") as stream:
            yield stream
        return
    partial = _partial(path)
    try:
        with open(partial, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
