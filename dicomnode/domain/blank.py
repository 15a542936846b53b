"""Masks of which little is filled: zeros that cost what is written to them, and little else."""

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Kind = TypeVar("_Kind", bound=np.generic)


def blank(shape: Sequence[int], kind: type[_Kind]) -> npt.NDArray[_Kind]:
    """Zeros; `np.zeros` would clear memory that was used before, all of it."""
    wanted: np.dtype[Any] = np.dtype(kind)
    count = math.prod(shape)
    size = max(count, 1) * wanted.itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, wanted, count).reshape(tuple(shape))


def filled(array: npt.NDArray[_Kind]) -> npt.NDArray[_Kind]:
    """The same array of `blank`, now that all is written: the rest of it is read quickly.

    From here on the kernel lends one large page of zeros for all that was never written, where
    each small page would cost a fault of its own. Large pages that are written to would have to be
    cleared, so this comes last.
    """
    memory: object = array
    while isinstance(memory, np.ndarray | memoryview):
        memory = memory.base if isinstance(memory, np.ndarray) else memory.obj
    if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # the kernel may have none
            memory.madvise(mmap.MADV_HUGEPAGE)
    return array
