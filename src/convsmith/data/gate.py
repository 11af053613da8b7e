"""How many large pictures are decoded together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Condition


class Gate:
    """Lets threads decode large pictures together only as far as memory allows; one may always.

    Args:
        room: bytes.
    """

    # Bytes that a pixel takes at most while it is decoded; pictures below so many need no place.
    PIXEL, SMALL = 12, 1 << 25

    def __init__(self, room: int) -> None:
        self._room, self._taken = room, 0
        self._changed = Condition()

    @contextlib.contextmanager
    def place(self, width: int, height: int) -> Iterator[None]:
        """Wait until there is room for a picture of this size."""
        bytes_ = width * height * self.PIXEL
        if bytes_ < self.SMALL:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + bytes_ <= self._room)
            self._taken += bytes_
        try:
            yield
        finally:
            with self._changed:
                self._taken -= bytes_
                self._changed.notify_all()
