"""How the C library keeps freed memory: large buffers stay with the process between batches."""

from __future__ import annotations

import ctypes
import os
import platform

# Options of mallopt(3), and by how many bytes the heap grows at a time.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
MOST = 2**31 - 1
PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Make glibc keep large buffers that are freed, in the place of handing them back to the kernel.

    A net frees its maps after each batch and asks for them again in the next. glibc hands back whatever is
    above 32 MB, so that the kernel must clear every page anew.
    Results stay the same to the bit. The setting holds for the whole process and can't be taken back.

    Returns:
        whether it is set: False where the C library isn't glibc, or the environment has settings of its own.

    >>> keep_freed_memory() in (True, False)
    True
    """
    own = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD")
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in own):
        return False
    set_option = ctypes.CDLL(None).mallopt
    return all(
        set_option(option, value) == 1
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MOST), (M_TOP_PAD, PAD))
    )
