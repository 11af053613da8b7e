"""Decode every image once into uint8: in memory, in a memory-mapped cache file, or on the fly by workers."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Condition
from typing import Any, Protocol

import numpy as np
import psutil
import torch
import xxhash
from filelock import FileLock
from torch import Tensor
from torch.utils.data import DataLoader

from convsmith.data.atomic import write
from convsmith.data.builtin import cache_folder
from convsmith.data.fit import Fit
from convsmith.data.levels import WIDE, Bytes, Levels
from convsmith.data.opening import Unread
from convsmith.data.picture import FAINT, decode, sized, span
from convsmith.data.scan import Broken, Header, Kept, Track, no_track, parallel
from convsmith.errors import UserError, shown
from convsmith.findings import Finding

# Part of each cache file's key: raise it when `decode` gives other pixels.
DECODE_VERSION = 3
# Seconds after which cached pixels that no run has used go, when others are made.
UNUSED = 30 * 24 * 3600


def cached(numbers: int) -> int:
    """How many images of so many float32 numbers stay in a processor's cache over several passes.

    Batches of photographs, a hundred times larger, take six times as long in one go.

    >>> cached(224 * 224 * 3)
    6
    """
    return max(1, (1 << 20) // max(1, numbers))


class Store(Protocol):
    """Pixels by row, wherever they are."""

    where: str
    # By row, the span of the pictures that are as good as one color.
    faint: Mapping[int, int]
    findings: list[Finding]

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each int64 row tensor (n,) its images (n, H, W, C) uint8."""


class Decoded:
    """All images as one uint8 tensor (N, H, W, C): in memory, in a mapped file, or on the GPU."""

    def __init__(self, pixels: Tensor, where: str, faint: Mapping[int, int] | None = None) -> None:
        self.pixels = pixels
        self.where = where
        self.faint = faint or {}
        self.findings: list[Finding] = []

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        # One transfer to the GPU for all batches: each by itself would make it wait.
        everything = torch.cat(list(batches)).to(self.pixels.device)
        for rows in torch.split(everything, [len(batch) for batch in batches]):
            yield self.pixels.index_select(0, rows)  # a tenth of the time of pixels[rows]


class Resized:
    """The images of another store at the net's size."""

    def __init__(self, store: Store, size: int) -> None:
        self.store = store
        self.size = size
        self.where = store.where
        self.faint = store.faint
        self.findings = store.findings

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        return (sized(pixels, self.size) for pixels in self.store.stream(batches))


class OnTheFly:
    """Images decoded when they are asked for, by worker processes that run ahead."""

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        channels: int,
        workers: int,
        fit: Fit = "crop",
        levels: Levels | None = WIDE,
    ) -> None:
        self.paths = list(paths)
        self.size = size
        self.channels = channels
        self.workers = workers
        self.fit = fit
        self.levels = levels
        self.where = f"files, decoded on the fly by {workers} workers"
        self.faint: Mapping[int, int] = {}
        self.findings: list[Finding] = []

    def __getitem__(self, row: int) -> Tensor | str:
        """An image, or the reason that it can't be read: an error in a worker would be a traceback here."""
        path = self.paths[row]
        try:
            return torch.from_numpy(decode(path, self.size, self.channels, self.fit, self.levels).copy())
        except Exception as error:  # Pillow's plugins raise anything on damaged data
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return f"{shown(path)} could be read when the data was opened, and can't now ({reason})"

    def __len__(self) -> int:
        return len(self.paths)

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """As :class:`Store` says.

        Raises:
            UserError: if a file has gone or changed since, or the machine has no room for workers' batches.
        """
        rows = [batch.tolist() for batch in batches]
        # mypy: a DataLoader takes anything with __getitem__ and __len__.
        loader: DataLoader[Tensor | str] = DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=rows,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_together,
        )
        batches_of: Iterator[Tensor | str] = iter(loader) if rows else iter(())
        while True:
            try:
                batch = next(batches_of, None)
            except (RuntimeError, OSError) as error:
                raise _of_workers(error) from error
            if batch is None:
                return
            if isinstance(batch, str):
                raise UserError(
                    f"{batch}; put it back and go on from the last checkpoint, or start again without it"
                )
            yield batch


def _together(images: Sequence[Tensor | str]) -> Tensor | str:
    """One batch of images, or the first reason that one of them can't be read."""
    found = [image for image in images if not isinstance(image, str)]
    return torch.stack(found) if len(found) == len(images) else next(i for i in images if isinstance(i, str))


def _of_workers(error: Exception) -> Exception:
    """What can be done where workers fail for want of memory; other errors as they are."""
    text = str(error)
    files = "the workers that decode images may not open so many files"
    less = "take fewer (`data.workers=1`), none (`data.workers=0`)"
    if any(word in text for word in ("shared memory", "shm", "Bus error", "No space left")):
        return UserError(
            f"the workers that decode images have no room in shared memory (/dev/shm); {less}, or make it "
            f"larger, e.g. with docker run --shm-size=1g"
        )
    if "killed by signal" in text or "exited unexpectedly" in text:
        return UserError(f"a worker that decodes images was ended, mostly for want of memory; {less}")
    if "Too many open files" in text:
        return UserError(f"{files}; {less}, or ulimit -n 4096")
    return error


def free_memory() -> int:
    """Bytes of memory that this process can still take, its container's limit included."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except OSError:
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - used))


def open_store(
    rows: Sequence[tuple[Path, Header]],
    *,
    size: int,
    channels: int,
    fit: Fit = "crop",
    levels: Levels | None = WIDE,
    memory: float = 0.5,
    disk: float = 0.5,
    workers: int | None = None,
    shared: bool = False,
    kept: Kept | None = None,
    known: Sequence[Broken] | None = None,
    track: Track[list[Any]] = no_track,
) -> tuple[Store, list[Broken]]:
    """Decode ``rows`` once, wherever they fit, and find the ones that are truncated or damaged.

    Args:
        rows: files with their headers.
        size: side of the decoded images in pixels.
        channels: 1 or 3.
        fit: how images are made square.
        levels: the values of more than 8 bits that become 0 and 255.
        memory: share of the free memory that the pixels may take.
        disk: share of the cache folder's free disk that they may take if memory doesn't suffice.
        workers: processes that decode on the fly if neither suffices; default: one a core.
        shared: prefer the mapped file, which several processes hold only once.
        kept: contents of files that were read already.
        known: the broken files, where another process has decoded all to find them.
        track: shows progress.

    Returns:
        the store, in which broken files are rows of zeros, and the broken files.
    """
    paths = [path for path, _ in rows]
    # Lazy: nothing is decoded before a store asks for it.
    attempt = functools.partial(
        _attempt,
        size=size,
        channels=channels,
        fit=fit,
        levels=levels,
        kept=kept,
        gate=Gate(free_memory() // 2),
    )
    decoding = parallel(attempt, rows, track, "Decoding", _threads(rows))
    shape = (len(rows), size, size, channels)
    total = int(np.prod(shape, dtype=np.int64))
    if not shared and total <= memory * free_memory():
        pixels = np.empty(shape, np.uint8)
        broken, faint = _fill(pixels, decoding)
        return Decoded(torch.from_numpy(pixels), "memory", faint), broken
    key = _key([header.digest for _, header in rows], size, channels, fit, levels)
    file = cache_folder() / "pixels" / f"{key}.u8"
    findings = []
    try:
        found = _known(file, shape, proven=known is not None)
        if found is None and _makes_room(file, total, disk):
            found = _made(file, shape, decoding)
        if found is not None:
            mapped, notes = found
            faint = {int(row): value for row, value in notes["faint"].items()}
            return Decoded(mapped, f"cache file {key}.u8", faint), [
                Broken(paths[row], reason) for row, reason in notes["broken"]
            ]
    except OSError as error:
        findings.append(_not_cached(file.parent, error))
        # What was decoded until then is lost.
        decoding = parallel(attempt, rows, track, "Decoding", _threads(rows))
    store = OnTheFly(
        paths, size, channels, workers if workers is not None else os.cpu_count() or 1, fit, levels
    )
    store.findings = findings
    if known is not None:
        return store, list(known)
    broken, store.faint = [], {}
    for row, answer in enumerate(decoding):
        if isinstance(answer, Broken):
            broken.append(answer)
        elif (found_span := span(answer)) < FAINT:
            store.faint = {**store.faint, row: found_span}
    return store, broken


def _threads(rows: Sequence[tuple[Path, Header]]) -> int | None:
    """One for small images: Pillow's own Python, under the GIL, takes longer than their decoding."""
    pixels = sum(header.width * header.height for _, header in rows)
    return 1 if pixels < 96 * 96 * len(rows) else None


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


def _key(digests: Sequence[str], size: int, channels: int, fit: Fit, levels: Levels | None) -> str:
    text = "\n".join([f"{DECODE_VERSION} {size} {channels} {fit} {levels}", *digests])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fill(pixels: Bytes, decoding: Iterable[Bytes | Broken]) -> tuple[list[Broken], dict[int, int]]:
    """Put pictures into their rows; give the broken ones, and by row the span of those that are one color."""
    broken, faint = [], {}
    for row, answer in enumerate(decoding):
        if isinstance(answer, Broken):
            broken.append(replace(answer, row=row))
            pixels[row] = 0
        else:
            pixels[row] = answer
            found = span(answer)
            if found < FAINT:
                faint[row] = found
    return broken, faint


def _attempt(
    row: tuple[Path, Header],
    size: int,
    channels: int,
    fit: Fit,
    levels: Levels | None,
    kept: Kept | None,
    gate: Gate,
) -> Bytes | Broken:
    path, header = row
    content = kept.take(path) if kept is not None else None
    try:
        with gate.place(header.width, header.height):
            return decode(path if content is None else content, size, channels, fit, levels)
    except (Unread, MemoryError) as error:
        return Broken(path, str(error) or "more pixels than this machine's memory holds")
    except Exception as error:  # Pillow's plugins raise anything on damaged data
        reason = "truncated image" if "truncated" in str(error) else f"damaged image ({type(error).__name__})"
        return Broken(path, reason)


# ---- the cache file


def _known(
    file: Path, shape: tuple[int, ...], *, proven: bool = False
) -> tuple[Tensor, dict[str, Any]] | None:
    """The cache file with its notes, if it is there, whole, and as it was written; another user's as well.

    Args:
        file: of the pixels.
        shape: of the pixels.
        proven: another process has compared its digest just now.
    """
    total = int(np.prod(shape, dtype=np.int64))
    try:
        notes = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        if file.stat().st_size != total or not isinstance(notes, dict):
            return None
        [int(row) + len(reason) for row, reason in notes["broken"]]
        [int(row) + value for row, value in notes["faint"].items()]
        # Mapped copy-on-write, since torch has no read-only tensors; nothing writes to it.
        pixels = np.memmap(file, np.uint8, "c", shape=shape)
        if not proven and notes["digest"] != _digest(file):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # what is used stays longest
    return torch.from_numpy(pixels), notes


def _digest(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with open(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 22), b""):
            digest.update(block)
    return str(digest.hexdigest())


def _made(
    file: Path, shape: tuple[int, ...], decoding: Iterable[Bytes | Broken]
) -> tuple[Tensor, dict[str, Any]]:
    """Make the cache file, complete under its own name or not there at all; another process may have by now.

    Raises:
        OSError: if it can't be written.
    """
    with FileLock(f"{file}.lock", mode=0o666):
        found = _known(file, shape)
        if found is not None:
            return found
        for stale in file.parent.glob(f"{file.stem}.*.partial"):  # left by a killed process
            stale.unlink()
        partial = file.with_suffix(f".{os.getpid()}.partial")
        try:
            with open(partial, "wb") as stream:
                stream.truncate(int(np.prod(shape, dtype=np.int64)))
                if hasattr(os, "posix_fallocate"):  # on a full disk an error, not a signal
                    os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
            pixels = np.memmap(partial, np.uint8, "r+", shape=shape)
            broken, faint = _fill(pixels, decoding)
            pixels.flush()
            # By row, since the same content may lie under another path next time.
            notes = {
                "broken": [[b.row, b.reason] for b in broken],
                "faint": faint,
                "digest": _digest(partial),
            }
            partial.replace(file)
            write(file.with_suffix(".json"), json.dumps(notes))
        finally:
            partial.unlink(missing_ok=True)
        found = _known(file, shape, proven=True)
        if found is None:
            raise OSError(errno.EIO, "what was written can't be read")
        return found


def _makes_room(file: Path, total: int, disk: float) -> bool:
    """Whether so many bytes fit into the cache's share of the disk; what was used longest ago goes for them.

    Raises:
        OSError: if the cache's folder can't be made, or nothing can be written to it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    others: list[tuple[float, int, Path]] = []
    for entry in file.parent.glob("*.u8"):
        with contextlib.suppress(FileNotFoundError):  # another process cleans up too
            if entry != file:
                others.append((entry.stat().st_mtime, entry.stat().st_size, entry))
    taken = sum(size for _, size, _ in others)
    room = disk * (shutil.disk_usage(file.parent).free + taken)
    if total > room:
        return False
    month_ago = time.time() - UNUSED
    for used, size, entry in sorted(others):
        if used >= month_ago and taken + total <= room:
            break
        try:
            entry.unlink()  # a process that has mapped it keeps it until it ends
            entry.with_suffix(".json").unlink(missing_ok=True)
        except OSError:  # another user's
            continue
        taken -= size
    return total <= disk * shutil.disk_usage(file.parent).free


def _not_cached(folder: Path, error: OSError) -> Finding:
    return Finding(
        seen=f"the decoded images can't be kept in {shown(folder)} ({error.strerror or error})",
        means="they are decoded again in each epoch, and in the next run",
        change="set CONVSMITH_CACHE to a folder that you may write to, or give more memory with "
        "`data.memory_share=0.8`",
        why="decoding takes longer than most training steps",
        source="cache",
        name="not_cached",
    )
