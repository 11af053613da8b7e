"""Open every file of a data set, and leave out broken ones by name and reason."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO, TypeVar

import xxhash
from PIL import Image

from convsmith.data.item import Item
from convsmith.data.levels import is_deep
from convsmith.data.opening import WHOLE, Unread, opened, stream, without_notes
from convsmith.data.quiet import quiet
from convsmith.data.reading import FLOATS, MOST_READ
from convsmith.errors import shown
from convsmith.findings import Finding

A = TypeVar("A")
B = TypeVar("B")
# Shows the progress of a loop: (things, number of things, description) -> things.
Track = Callable[[Iterable[A], int, str], Iterable[A]]

# Pillow's own limit for a decompression bomb: twice a quarter of a gigabyte of RGB.
MAX_PIXELS = 178_956_970
# Bytes up to which a file is read at once, and those in which a larger one is hashed.
SMALL = 1 << 20
# First bytes of the formats whose notes can be left out.
PICTURES = (b"\x89P", b"\xff\xd8")
GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N", "I"})


def no_track(things: Iterable[A], total: int, doing: str) -> Iterable[A]:
    """Show no progress."""
    return things


@dataclass(frozen=True)
class Header:
    """Facts from a file's header; ``digest`` is the XXH3-128 of its bytes, ``deep`` has more than 8 bits."""

    width: int
    height: int
    mode: str
    digest: str
    deep: bool = False
    # When the file was last changed, in nanoseconds since 1970.
    modified: int = 0


@dataclass(frozen=True)
class Broken:
    """A file left out of the data set, and why; ``row`` is its place among the decoded files."""

    path: Path
    reason: str
    row: int = field(default=-1, compare=False)


def parallel(
    work: Callable[[A], B],
    things: Sequence[A],
    track: Track[list[A]],
    doing: str,
    threads: int | None = None,
) -> Iterator[B]:
    """``map(work, things)`` in order, by default on all cores; Pillow and file reads release the GIL."""
    # In chunks, since handing over one small image costs as much as decoding it.
    chunks = [list(things[i : i + 64]) for i in range(0, len(things), 64)]
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        done = pool.map(lambda chunk: [work(thing) for thing in chunk], chunks)
        for results in track(done, len(chunks), doing):  # type: ignore[arg-type]
            yield from results  # type: ignore[misc]


class Kept:
    """Contents of files that were read, up to ``room`` bytes; each is given out once.

    >>> kept = Kept(3); kept.keep(Path("a"), b"12"); kept.keep(Path("b"), b"34")
    >>> kept.take(Path("a")), kept.take(Path("a")), kept.take(Path("b"))
    (b'12', None, None)
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._lock = Lock()
        self._contents: dict[Path, bytes] = {}

    def keep(self, path: Path, content: bytes) -> None:
        with self._lock:
            if len(content) <= self.room and path not in self._contents:
                self.room -= len(content)
                self._contents[path] = content

    def take(self, path: Path) -> bytes | None:
        return self._contents.pop(path, None)


def read(path: Path, kept: Kept | None = None) -> Header | Broken:
    """One file's header and digest, or the reason that it can't be used.

    The header comes first: of what isn't an image, or a bomb, no more is read than its beginning. The picture
    itself is decoded later, once (:mod:`convsmith.data.pixels`), of what ``kept`` has room for without
    reading the file again; truncation shows there.
    """
    try:
        with stream(path) as file, quiet:
            return _read(path, file, kept)
    except Unread as error:
        return Broken(path, str(error))
    except OSError as error:
        return Broken(path, f"cannot be read ({error.strerror or error})")


def _read(path: Path, file: IO[bytes], kept: Kept | None) -> Header | Broken:
    status = os.fstat(file.fileno())
    length, modified = status.st_size, status.st_mtime_ns
    if not length:
        return Broken(path, "empty file")
    content = file.read() if length <= SMALL else None
    source = file if content is None else io.BytesIO(content)
    try:
        image = _header(source)
    except Image.DecompressionBombError:
        return Broken(path, f"decompression bomb (over {MAX_PIXELS:,} pixels)")
    except Unread as error:
        return Broken(path, str(error))
    except Exception as error:  # Pillow's plugins raise anything on a damaged header
        return Broken(path, f"damaged image ({type(error).__name__}: {shown(str(error))[:80]})")
    width, height, mode = *image.size, image.mode
    if width * height > MAX_PIXELS:
        return Broken(path, f"decompression bomb ({width}x{height} pixels)")
    if min(width, height) < 2:
        return Broken(path, f"a side of {min(width, height)} pixel ({width}x{height})")
    if mode == "F":
        return Broken(path, FLOATS)
    deep = is_deep(image)
    file.seek(0)
    if content is None and kept is not None and length <= min(WHOLE, kept.room):
        content = file.read()
    if content is not None:
        if kept is not None:
            kept.keep(path, content)
        return Header(width, height, mode, xxhash.xxh3_128_hexdigest(content), deep, modified)
    digest = xxhash.xxh3_128()
    for block in iter(lambda: file.read(SMALL), b""):
        digest.update(block)
    return Header(width, height, mode, str(digest.hexdigest()), deep, modified)


def _header(file: IO[bytes]) -> Image.Image:
    """A picture's header, where need be without its text, profiles and EXIF."""
    try:
        return opened(file)
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        file.seek(0)
        bare = without_notes(file.read(MOST_READ)) if file.read(2) in PICTURES and not file.seek(0) else None
        if bare is None:
            raise
        try:
            return opened(io.BytesIO(bare))
        except Exception:
            raise error from None


def scan(
    items: Sequence[Item], track: Track[list[Path]] = no_track, kept: Kept | None = None
) -> tuple[list[tuple[Item, Header]], list[Broken]]:
    """Read all headers; give the usable items with their headers, and the broken files."""
    paths = [item.path for item in items]
    answers = list(parallel(partial(read, kept=kept), paths, track, "Scanning"))
    good = [(item, answer) for item, answer in zip(items, answers) if isinstance(answer, Header)]
    return good, [answer for answer in answers if isinstance(answer, Broken)]


def broken_findings(broken: Sequence[Broken]) -> list[Finding]:
    """One finding about all files that can't be used, with each reason and the first files of it."""
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for file in broken:
        by_reason[file.reason].append(file.path)
    if not broken:
        return []
    reasons = [f"{reason}: {_some([shown(p) for p in paths])}" for reason, paths in by_reason.items()]
    return [
        Finding(
            seen=f"{_count(len(broken), 'file')} left out: {'; '.join(reasons)}",
            means="the net is trained without them",
            change="replace or delete them",
            why="a broken file teaches nothing, or stops the training half-way",
            source="scan",
            name="broken_files",
        )
    ]


def duplicate_findings(rows: Sequence[tuple[Item, Header]]) -> list[Finding]:
    """Exact copies (same bytes) across splits, and copies under several labels."""
    same: dict[str, list[Item]] = defaultdict(list)
    for item, header in rows:
        same[header.digest].append(item)
    copies = [group for group in same.values() if len(group) > 1]
    findings = []
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        leaks = [group for group in copies if {one, other} <= {item.split for item in group}]
        if leaks:
            findings.append(
                Finding(
                    seen=f"{_count(len(leaks), 'image')} in {one} and in {other} alike: {_examples(leaks)}",
                    means=f"the accuracy on {other} is too good to be true",
                    change=f"delete the copies from {one}, or put them on one side",
                    why="an image that was trained on measures memory, not generalization",
                    source="exact content hash",
                )
            )
    torn = [group for group in copies if len({item.target or item.label for item in group}) > 1]
    if torn:
        findings.append(
            Finding(
                seen=f"{_count(len(torn), 'image')} under several labels, in "
                f"{sum(map(len, torn)):,} of {len(rows):,} files: {_examples(torn)}",
                means="at least one label of each is wrong",
                change="keep each under one label",
                why="contradicting labels set a floor under the error",
                source="exact content hash",
                name="contradictions",
            )
        )
    return findings


def _examples(groups: Sequence[Sequence[Item]]) -> str:
    return _some([" = ".join(shown(item.path) for item in _unlike(group)) for group in groups])


def _unlike(group: Sequence[Item]) -> tuple[Item, Item]:
    """Two copies that differ in label or split, where any do: what is wrong with them."""
    first = group[0]
    other = (item for item in group[1:] if (item.label, item.split) != (first.label, first.split))
    return first, next(other, group[1])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
