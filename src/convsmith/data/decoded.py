"""Files are read once, and decoded once, however many processes there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convsmith.data.flat import flat_findings
from convsmith.data.gate import Gate
from convsmith.data.item import Item
from convsmith.data.levels import WIDE, Levels, of_all
from convsmith.data.pixels import Store, free_memory, open_store
from convsmith.data.reading import measured
from convsmith.data.scan import Broken, Header, Kept, no_track, parallel

# Runs work in one of several processes, and gives its result to all.
Once = Callable[[Callable[[], Any]], Any]
# Share of the free memory in which contents of files are kept between the scan and the decoding.
KEPT = 0.25
# Pictures of more than 8 bits of which the range of all is taken.
MEASURED = 2000


def here(work: Callable[[], Any]) -> Any:
    """Run work where there is one process.

    >>> here(lambda: 3)
    3
    """
    return work()


def room_for_contents() -> Kept:
    """Room for what the scan reads, so that decoding need not read it again."""
    return Kept(int(KEPT * free_memory()))


def levels_of(
    rows: Sequence[tuple[Item, Header]], reasons: dict[str, str], once: Once = here
) -> Levels | None:
    """Choose the values that become black and white, by the pictures of more than 8 bits.

    Images that the layout sets aside for validation or testing have no say. None where there is none of the
    kind: should one come later, its own values decide.
    """
    deep = [(item, header) for item, header in rows if header.deep]
    deep = [row for row in deep if row[0].split not in ("val", "test")] or deep
    if not deep:
        return None
    some = deep[:: -(-len(deep) // MEASURED)]
    found: list[tuple[int, int, int, int]] = once(lambda: _measured(some))
    levels = of_all(found) if found else WIDE
    least, most = (min(f[0] for f in found), max(f[3] for f in found)) if found else levels
    reasons["data.levels"] = (
        f"{len(deep):,} images have more than 8 bits, and values from {least:,} to {most:,}: those from "
        f"{levels[0]:,} to {levels[1]:,} become 0 to 255, in every image alike"
    )
    return levels


def _measured(rows: Sequence[tuple[Item, Header]]) -> list[tuple[int, int, int, int]]:
    gate = Gate(free_memory() // 2)

    def attempt(row: tuple[Item, Header]) -> tuple[int, int, int, int] | None:
        item, header = row
        try:
            with gate.place(header.width, header.height):
                return measured(item.path)
        except Exception:  # a damaged picture, which is named when it is decoded
            return None

    found = parallel(attempt, rows, no_track, "Measuring")
    return [extremes for extremes in found if extremes is not None]


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
    store.findings = [*store.findings, *flat_findings(rows, store.faint, options)]
    return store, [number for number, (item, _) in enumerate(rows) if item.path not in bad], damaged
