"""The peak of a run's memory, told by a process of its own: other tests' memory is not in it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="no clear_refs (proc(5))"
)

MB = 1 << 20
PEAKS = """
import numpy as np
from dicomnode.pipeline import heap
from dicomnode.pipeline.peak import peak_of

def peak(megabytes):
    with peak_of("cpu") as told:
        block = np.ones(megabytes << 20, dtype=np.uint8)
        assert block[-1] == 1
        print(told())

peak(300)
peak(1)
heap.keep_freed_memory()
peak(300)
peak(2000)
heap.give_back_memory()
peak(300)
"""


def test_the_peak_of_a_run_is_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", PEAKS], check=True, capture_output=True, text=True)
    large, small, kept, larger, after_it = (int(word) for word in done.stdout.split())
    assert 200 * MB < large - small < 400 * MB
    assert abs(kept - large) < 100 * MB
    assert larger - large > 1500 * MB
    assert abs(after_it - large) < 100 * MB, "what the run before had kept is in this run's peak"
