"""What a run takes of a device's memory, as a function of how many voxels go in."""

from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 1.1
"""Of what was measured: the next run of that size may take a little more."""
_BEYOND = 2.0
"""Up to how many times the largest size that was measured a line is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLine:
    """Upper bound: so much whatever the size, and so much for each voxel of the inputs."""

    fixed_bytes: float
    a_voxel_bytes: float

    def of(self, voxels: int) -> int:
        """Bytes for inputs of so many voxels."""
        return int(self.fixed_bytes + self.a_voxel_bytes * voxels)

    def fitting(self, budget_bytes: int) -> int:
        """How many voxels fit; 0: not even the fixed part does."""
        left = budget_bytes - self.fixed_bytes
        if left <= 0:
            return 0
        return int(left / self.a_voxel_bytes) if self.a_voxel_bytes > 0 else 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """What one run took at its peak."""

    voxels: int
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A run that is predicted to take more than a device has: to be cut, or computed on the CPU."""

    need_bytes: int
    budget_bytes: int
    line: MemoryLine


def learned(runs: Sequence[MeasuredRun], voxels: int) -> MemoryLine | None:
    """The bound that measured runs give for inputs of this size; None: they say nothing of it.

    A line by least squares, lifted over the run that lies highest above it. From one size alone
    nothing can be said of larger ones but that they take more in proportion.
    """
    if not runs or voxels > _BEYOND * max(run.voxels for run in runs):
        return None
    peak = max(run.peak_bytes for run in runs)
    slope = _slope(runs)
    if slope is None:
        largest = max(run.voxels for run in runs)
        slope = peak / largest if voxels > largest and largest else 0.0
        fixed = peak - slope * largest
    else:
        fixed = max(run.peak_bytes - slope * run.voxels for run in runs)
    return MemoryLine(fixed_bytes=MARGIN * fixed, a_voxel_bytes=MARGIN * slope)


def _slope(runs: Sequence[MeasuredRun]) -> float | None:
    """Bytes for each voxel; None for fewer than two sizes."""
    mean = sum(run.voxels for run in runs) / len(runs)
    spread = sum((run.voxels - mean) ** 2 for run in runs)
    if spread == 0:
        return None
    peak = sum(run.peak_bytes for run in runs) / len(runs)
    together = sum((run.voxels - mean) * (run.peak_bytes - peak) for run in runs)
    return max(0.0, together / spread)


def in_gb(count: int) -> str:
    """For people."""
    return f"{count / 1e9:.1f} GB"
