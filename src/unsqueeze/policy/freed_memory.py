"""Freed main memory, kept for what is computed next instead of given back to the system.

glibc gives memory back as soon as the free end of its heap is larger than twice the largest block that it once got from
the system by itself. A training step frees all its activations at its end; the next one gets them anew, and the system
clears every page again (``benchmarks/freed_memory.py``).
"""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 256 * 2**20
"""As much as this is kept at the end of the heap; what is free below a block in use stays in the process anyhow."""
LARGEST_BLOCK = 32 * 2**20
"""A larger block is given back when it is freed, as ever: what clearing its pages takes is little beside its use."""


def keep_freed_memory() -> bool:
    """Have this process keep up to 256 MiB that are free at the end of its heap; tell whether that could be set.

    It can where the C library is glibc, and is left alone where the environment says how its heap is to behave
    (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``).
    """
    if any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST_BLOCK)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
