"""Atomic writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


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
    """A stream whose content replaces a file atomically, once it is whole.

    Raises:
        OSError: if it can't be written; the old file is still there then, as after any error within.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
