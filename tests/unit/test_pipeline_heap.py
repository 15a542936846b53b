"""Memory that was freed is kept while a process computes, and given back when it is idle."""

import platform
import subprocess
import sys

import pytest

from dicomnode.pipeline.heap import IDLE_BYTES, KEEPING_FREED_MEMORY

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")

MB = 1_000_000
FAULTS = """
import resource, sys
import numpy as np
from dicomnode.pipeline import heap
if sys.argv[1] == "kept":
    heap.keep_freed_memory()
def layer():
    np.ones(100_000_000, np.uint8)
layer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
layer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
IDLE = """
import numpy as np
from dicomnode.pipeline import heap
heap.keep_freed_memory()
for size in (heap.IDLE_BYTES // 4, heap.IDLE_BYTES):
    parts = [np.ones(size // 4, np.uint8) for _ in range(4)]
    del parts
    before = heap._resident_bytes()
    heap.give_back_memory()
    print(before, heap._resident_bytes())
"""


def told_by(program: str, *arguments: str, environment: dict[str, str] | None = None) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return [int(word) for word in done.stdout.split()]


def test_a_second_layer_takes_the_pages_of_the_first() -> None:
    """Even in huge pages 100 MB are 50 of them."""
    (plain,) = told_by(FAULTS, "as it is")
    (kept,) = told_by(FAULTS, "kept")
    (by_environment,) = told_by(FAULTS, "as it is", environment=dict(KEEPING_FREED_MEMORY))
    assert plain >= 50
    assert kept < 20
    assert by_environment < 20


def test_an_idle_process_gives_back_what_is_much_and_keeps_what_is_little() -> None:
    little, still, much, left = told_by(IDLE)
    assert still > little - 10 * MB
    assert little > IDLE_BYTES / 4
    assert much > IDLE_BYTES
    assert left < much - IDLE_BYTES / 2
