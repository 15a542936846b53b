"""How a process that computes keeps the memory it has freed (glibc; elsewhere nothing is done).

A network frees and asks for hundreds of megabytes in every layer. By default glibc hands all of
that back to the kernel, which clears each page anew: a quarter of a CT's time.
"""

import ctypes
import resource
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_MOST = 2**31 - 1
_LARGEST_FROM_HEAP = 2**30
KEEPING_FREED_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": str(_MOST),
    "MALLOC_MMAP_THRESHOLD_": str(_LARGEST_FROM_HEAP),
}
"""Environment of another process that is to do the same."""
IDLE_BYTES = 1_500_000_000
"""What a process may hold between two runs; torch and a bundle of radiographs take .9 GB."""


def keep_freed_memory() -> None:
    """From now on memory that is freed is kept for what is asked for next."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_TRIM_THRESHOLD, _MOST)
        mallopt(_MMAP_THRESHOLD, _LARGEST_FROM_HEAP)


def give_back_memory() -> None:
    """Hand freed memory back to the kernel, if the process holds more than `IDLE_BYTES`."""
    if _resident_bytes() > IDLE_BYTES and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()
