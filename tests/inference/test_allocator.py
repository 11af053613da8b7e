"""Freed buffers stay with the process, and results stay the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each step takes 64 MB and frees them. Page faults are counted by the kernel: a page that was handed back is
# faulted in again. The first steps shape the heap.
# Run in a process of its own, since the setting can't be taken back.
PROGRAM = """
import resource, sys, torch
from convsmith.inference.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    if not keep_freed_memory():
        sys.exit(77)
sums = []
def step(): sums.append(float(torch.full((2**24,), 1.5).sum()))
for _ in range(20): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, sums[-1])
"""


def _faults(mode: str) -> tuple[int, float]:
    found = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=False)
    if found.returncode == 77:
        pytest.skip("the C library isn't glibc, or the environment has settings of its own")
    faults, total = found.stdout.split()
    return int(faults), float(total)


def test_pages_are_not_handed_back() -> None:
    (given_back, total), (kept, same) = _faults("system"), _faults("keep")
    assert total == same == 1.5 * 2**24
    assert kept < given_back / 4
