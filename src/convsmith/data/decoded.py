"""Files are read once, and decoded once, however many processes there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convsmith.data.item import Item
from convsmith.data.pixels import Store, free_memory, open_store
from convsmith.data.scan import Broken, Header, Kept

# Runs work in one of several processes, and gives its result to all.
Once = Callable[[Callable[[], Any]], Any]
# Share of the free memory in which contents of files are kept between the scan and the decoding.
KEPT = 0.25


def here(work: Callable[[], Any]) -> Any:
    """Run work where there is one process.

    >>> here(lambda: 3)
    3
    """
    return work()


def room_for_contents() -> Kept:
    """Room for what the scan reads, so that decoding need not read it again."""
    return Kept(int(KEPT * free_memory()))


def decoded(
    rows: Sequence[tuple[Item, Header]], once: Once = here, **options: Any
) -> tuple[Store, list[int], list[Broken]]:
    """Decode all files; give the pixels, the rows that could be decoded, and the broken files.

    Args:
        rows: items with their headers.
        once: see :data:`Once`; the other processes map the file that the first one has made.
        options: of :func:`convsmith.data.pixels.open_store`.
    """
    files = [(item.path, header) for item, header in rows]
    made: list[Store] = []

    def attempt() -> list[Broken]:
        store, damaged = open_store(files, **options)
        made.append(store)
        return damaged

    damaged: list[Broken] = once(attempt)
    store = made[0] if made else open_store(files, known=damaged, **options)[0]
    bad = {file.path for file in damaged}
    return store, [number for number, (item, _) in enumerate(rows) if item.path not in bad], damaged
