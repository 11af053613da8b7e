"""Decoded pixels in a file that further runs map: whole, proven by its digest, and bounded."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from filelock import FileLock
from torch import Tensor

from convsmith.data.atomic import write
from convsmith.data.conversion import FAINT, span
from convsmith.data.fit import Fit
from convsmith.data.levels import Bytes, Levels
from convsmith.data.scan import Broken
from convsmith.errors import shown
from convsmith.findings import Finding

# Part of each cache file's key: raise it when `decode` gives other pixels.
DECODE_VERSION = 3
# Seconds after which cached pixels that no run has used go, when others are made.
UNUSED = 30 * 24 * 3600


def key_of(digests: Sequence[str], size: int, channels: int, fit: Fit, levels: Levels | None) -> str:
    text = "\n".join([f"{DECODE_VERSION} {size} {channels} {fit} {levels}", *digests])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fill(pixels: Bytes, decoding: Iterable[Bytes | Broken]) -> tuple[list[Broken], dict[int, int]]:
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


def known_pixels(
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


def made_pixels(
    file: Path, shape: tuple[int, ...], decoding: Iterable[Bytes | Broken]
) -> tuple[Tensor, dict[str, Any]]:
    """Make the cache file, complete under its own name or not there at all; another process may have by now.

    Raises:
        OSError: if it can't be written.
    """
    with FileLock(f"{file}.lock", mode=0o666):
        found = known_pixels(file, shape)
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
            broken, faint = fill(pixels, decoding)
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
        found = known_pixels(file, shape, proven=True)
        if found is None:
            raise OSError(errno.EIO, "what was written can't be read")
        return found


def makes_room(file: Path, total: int, disk: float) -> bool:
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


def not_cached(folder: Path, error: OSError) -> Finding:
    return Finding(
        seen=f"the decoded images can't be kept in {shown(folder)} ({error.strerror or error})",
        means="they are decoded again in each epoch, and in the next run",
        change="set CONVSMITH_CACHE to a folder that you may write to, or give more memory with "
        "`data.memory_share=0.8`",
        why="decoding takes longer than most training steps",
        source="cache",
        name="not_cached",
    )
