"""Keeping Pillow's warnings back while pictures are read, in all threads."""

from __future__ import annotations

import warnings
from threading import Lock


class _Quiet:
    """Within it Pillow doesn't warn, in any thread: what a file is worth is said of all files together.

    ``warnings.catch_warnings`` keeps and restores the filters of the whole process. Of several threads, each
    with one of its own, the last may restore what another had set, and all warnings are gone for good.
    """

    def __init__(self) -> None:
        self._lock, self._within = Lock(), 0
        self._kept: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._kept = warnings.catch_warnings()
                self._kept.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._within += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0 and self._kept is not None:
                self._kept.__exit__(None, None, None)


quiet = _Quiet()
