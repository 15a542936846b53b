"""What a run takes of its device's memory at its peak."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_RESET_PEAK = "5"
"""Written to `clear_refs`: the peak of resident memory counts anew (proc(5))."""


@contextmanager
def peak_of(device: str) -> Iterator[Callable[[], int | None]]:
    """Inside, the peak is counted from zero; the function tells it in bytes, None where none can.

    On CUDA what torch has reserved; on the CPU the resident memory of this process.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: int(torch.cuda.max_memory_reserved(device))
        return
    yield _resident_peak if _reset() else lambda: None


def _reset() -> bool:
    try:
        Path(f"/proc/{os.getpid()}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _resident_peak() -> int | None:
    status = Path(f"/proc/{os.getpid()}/status").read_text(encoding="ascii", errors="replace")
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
