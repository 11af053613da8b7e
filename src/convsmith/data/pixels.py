"""Decode every image once into uint8: in memory, in a memory-mapped cache file, or on the fly by workers."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from convsmith.data.builtin import cache_folder
from convsmith.data.conversion import FAINT, span
from convsmith.data.fit import Fit
from convsmith.data.gate import Gate
from convsmith.data.levels import WIDE, Bytes, Levels
from convsmith.data.opening import Unread
from convsmith.data.picture import decode, sized
from convsmith.data.pixel_cache import fill, key_of, known_pixels, made_pixels, makes_room, not_cached
from convsmith.data.scan import Broken, Header, Kept, Track, no_track, parallel
from convsmith.errors import UserError, shown
from convsmith.findings import Finding


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
            f"larger, e.g. with Docker's option shm-size"
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
        broken, faint = fill(pixels, decoding)
        return Decoded(torch.from_numpy(pixels), "memory", faint), broken
    key = key_of([header.digest for _, header in rows], size, channels, fit, levels)
    file = cache_folder() / "pixels" / f"{key}.u8"
    findings = []
    try:
        found = known_pixels(file, shape, proven=known is not None)
        if found is None and makes_room(file, total, disk):
            found = made_pixels(file, shape, decoding)
        if found is not None:
            mapped, notes = found
            faint = {int(row): value for row, value in notes["faint"].items()}
            return Decoded(mapped, f"cache file {key}.u8", faint), [
                Broken(paths[row], reason) for row, reason in notes["broken"]
            ]
    except OSError as error:
        findings.append(not_cached(file.parent, error))
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
