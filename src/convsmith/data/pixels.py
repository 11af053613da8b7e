"""Decode every image once into uint8: in memory, in a memory-mapped cache file, or on the fly by workers."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import DataLoader

from convsmith.data.builtin import cache_folder
from convsmith.data.picture import Bytes, decode, sized
from convsmith.data.scan import Broken, Header, Kept, Track, no_track, parallel

# Part of each cache file's key: raise it when `decode` gives other pixels.
DECODE_VERSION = 2


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

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each int64 row tensor (n,) its images (n, H, W, C) uint8."""


class Decoded:
    """All images as one uint8 tensor (N, H, W, C): in memory, in a mapped file, or on the GPU."""

    def __init__(self, pixels: Tensor, where: str) -> None:
        self.pixels = pixels
        self.where = where

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

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        return (sized(pixels, self.size) for pixels in self.store.stream(batches))


class OnTheFly:
    """Images decoded when they are asked for, by worker processes that run ahead."""

    def __init__(self, paths: Sequence[Path], size: int, channels: int, workers: int) -> None:
        self.paths = list(paths)
        self.size = size
        self.channels = channels
        self.workers = workers
        self.where = f"files, decoded on the fly by {workers} workers"

    def __getitem__(self, row: int) -> Tensor:
        try:
            return torch.from_numpy(decode(self.paths[row], self.size, self.channels).copy())
        except OSError as error:
            raise RuntimeError(f"{self.paths[row]} could be decoded when it was scanned: {error}") from error

    def __len__(self) -> int:
        return len(self.paths)

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        rows = [batch.tolist() for batch in batches]
        # mypy: a DataLoader takes anything with __getitem__ and __len__.
        loader: DataLoader[Tensor] = DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=rows,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
        )
        yield from loader


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
    memory: float = 0.5,
    disk: float = 0.5,
    workers: int | None = None,
    shared: bool = False,
    kept: Kept | None = None,
    known: Sequence[Broken] | None = None,
    track: Track[list[Path]] = no_track,
) -> tuple[Store, list[Broken]]:
    """Decode ``rows`` once, wherever they fit, and find the ones that are truncated or damaged.

    Args:
        rows: files with their headers.
        size: side of the decoded images in pixels.
        channels: 1 or 3.
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
    attempt = functools.partial(_attempt, size=size, channels=channels, kept=kept)
    decoding = parallel(attempt, paths, track, "Decoding", _threads(rows))
    shape = (len(rows), size, size, channels)
    total = int(np.prod(shape, dtype=np.int64))
    if not shared and total <= memory * free_memory():
        pixels = np.empty(shape, np.uint8)
        broken = _fill(pixels, decoding)
        return Decoded(torch.from_numpy(pixels), "memory"), broken
    folder = cache_folder() / "pixels"
    folder.mkdir(parents=True, exist_ok=True)
    key = _key([header.digest for _, header in rows], size, channels)
    if (folder / f"{key}.u8").exists() or total <= disk * shutil.disk_usage(folder).free:
        mapped, broken = _mapped(folder / f"{key}.u8", shape, paths, decoding)
        return Decoded(mapped, f"cache file {key}.u8"), broken
    workers = workers if workers is not None else os.cpu_count() or 1
    broken = [found for found in decoding if isinstance(found, Broken)] if known is None else list(known)
    return OnTheFly(paths, size, channels, workers), broken


def _threads(rows: Sequence[tuple[Path, Header]]) -> int | None:
    """One for small images: Pillow's own Python, under the GIL, takes longer than their decoding."""
    pixels = sum(header.width * header.height for _, header in rows)
    return 1 if pixels < 96 * 96 * len(rows) else None


def _key(digests: Sequence[str], size: int, channels: int) -> str:
    text = "\n".join([f"{DECODE_VERSION} {size} {channels}", *digests])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fill(pixels: Bytes, decoding: Iterable[Bytes | Broken]) -> list[Broken]:
    broken = []
    for row, answer in enumerate(decoding):
        if isinstance(answer, Broken):
            broken.append(answer)
            pixels[row] = 0
        else:
            pixels[row] = answer
    return broken


def _attempt(path: Path, size: int, channels: int, kept: Kept | None = None) -> Bytes | Broken:
    content = kept.take(path) if kept is not None else None
    try:
        return decode(path if content is None else content, size, channels)
    except Exception as error:  # Pillow's plugins raise anything on damaged data
        reason = "truncated image" if "truncated" in str(error) else f"damaged image ({type(error).__name__})"
        return Broken(path, reason)


def _mapped(
    file: Path, shape: tuple[int, ...], paths: Sequence[Path], decoding: Iterable[Bytes | Broken]
) -> tuple[Tensor, list[Broken]]:
    """The cache file, made first if need be: complete under its own name or not there at all."""
    notes = file.with_suffix(".json")
    with FileLock(f"{file}.lock"):
        if not (file.exists() and notes.exists() and file.stat().st_size == int(np.prod(shape))):
            for stale in file.parent.glob(f"{file.stem}.*.partial"):  # left by a killed process
                stale.unlink()
            partial = file.with_suffix(f".{os.getpid()}.partial")
            try:
                pixels = np.memmap(partial, np.uint8, "w+", shape=shape)
                broken = _fill(pixels, decoding)
                pixels.flush()
                # By row, since the same content may lie under another path next time.
                at = {path: row for row, path in enumerate(paths)}
                notes.write_text(json.dumps([[at[b.path], b.reason] for b in broken]))
                partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)
        broken = [Broken(paths[row], reason) for row, reason in json.loads(notes.read_text())]
    # Mapped copy-on-write, since torch has no read-only tensors; nothing writes to it.
    return torch.from_numpy(np.memmap(file, np.uint8, "c", shape=shape)), broken
