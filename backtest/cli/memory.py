"""Memory of the command line: what is freed goes back to the system."""

from __future__ import annotations

import ctypes

# Settings of mallopt(3), glibc.
_TRIM_THRESHOLD = (-1, 1 << 20)  # free memory at the top of the heap that is kept
_MMAP_THRESHOLD = (-3, 1 << 16)  # size from which an array has pages of its own, which go back when it is freed
_ARENAS = (-8, 1)  # heaps


def return_what_is_freed() -> None:
    """Ask the allocators to keep nothing for later.

    A study's tables and arrays come and go by the hundred megabytes. Kept for reuse, they were 40 % of the peak; to ask
    for them anew costs nothing one can measure. Where the C library is not glibc its own ways stay.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting, value in (_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENAS):
            mallopt(setting, value)
