"""Marrow of the vertebral bodies, found in an outline of all bone by where they lie."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import (
    HOUNSFIELD,
    MEDIAN,
    ML,
    STANDARD_DEVIATION,
    VERTEBRAL_MARROW,
    VERTEBRAL_MARROW_VOLUME,
)
from dicomnode.domain.findings import Measurement, SegmentFinding
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.pipeline.measured import Measured
from dicomnode.pipeline.vertebrae import Cores, vertebrae_of

Mask = npt.NDArray[np.bool_]
_T = TypeVar("_T", bound=np.generic)

DEPTH_MM = 6.0
"""Deeper than this there is no cortex; ribs, arches and the sternum have no such depth."""
_HALF_WIDTH_MM = 30.0
_HALF_DEPTH_MM = 60.0
"""How far from their middle bodies lie across, and front to back with the spine's curves."""
_ASIDE_MM = 45.0
_THICK_MM = 5.0
_HIP_CM2 = 0.5
"""Bone beyond 45 mm on either side that lies deeper than 5 mm in the slice: hips and shoulders have
it, ribs do not. There the sacrum and the bodies between the shoulders are left out."""
_LEAST_ML = 0.5
"""Of one body's core."""


def vertebral_marrow_of(bone: SegmentFinding, image: Volume) -> Measured:
    """Median and standard deviation of HU in the cores of vertebral bodies, and how much that is.

    The core of a body is what lies deeper than 6 mm in bone, near the middle; slices with hips or
    shoulders do not count, so that the sacrum stays out. Contrast medium raises the value, and HU
    are no bone mineral density: compare like with like. Each body that can be told from its
    neighbours is a finding of its own (`pipeline.vertebrae`). Nothing for series that are not
    axial.

    Args:
        bone: all of it, also beside the spine.
        image: the CT in HU.
    """
    cores = _cores(bone.mask, image) if _is_axial(image.grid) else None
    if cores is None:
        return Measured()
    values = cores.hu[cores.mask].astype(np.float64)
    median, spread = float(np.median(values)), float(values.std())
    measured_ml = len(values) * cores.voxel_ml
    numbers = (
        Measurement(name=VERTEBRAL_MARROW, value=median, unit=HOUNSFIELD, derivation=MEDIAN),
        Measurement(
            name=VERTEBRAL_MARROW, value=spread, unit=HOUNSFIELD, derivation=STANDARD_DEVIATION
        ),
        Measurement(name=VERTEBRAL_MARROW_VOLUME, value=measured_ml, unit=ML),
    )
    return Measured(numbers, vertebrae_of(cores))


@dataclass(frozen=True, slots=True)
class _Thinned:
    """Every n-th row and column, so that they lie about 1.5 mm apart at least."""

    down: int
    across: int

    @classmethod
    def of(cls, grid: Grid) -> "_Thinned":
        _, rows, columns = grid.spacing_mm
        return cls(max(1, int(1.5 / rows)), max(1, int(1.5 / columns)))

    def __call__(self, array: npt.NDArray[_T]) -> npt.NDArray[_T]:
        return array[:, :: self.down, :: self.across]


def _cores(mask: Mask, image: Volume) -> Cores | None:
    """What is deep in bone and lies where vertebral bodies do; None if that is nothing."""
    from scipy import ndimage

    thinned = _Thinned.of(image.grid)
    slices, rows_mm, columns_mm = image.grid.spacing_mm
    steps = (slices, thinned.down * rows_mm, thinned.across * columns_mm)
    bone = thinned(mask)
    across = (np.arange(bone.shape[2]) - np.median(np.nonzero(bone)[2])) * steps[2]
    near = np.flatnonzero(np.abs(across) < _HALF_WIDTH_MM + 2 * DEPTH_MM)
    columns = slice(int(near[0]), int(near[-1]) + 1)
    part = np.pad(bone[:, :, columns], 1)
    core = ndimage.distance_transform_edt(part, sampling=steps)[1:-1, 1:-1, 1:-1] > DEPTH_MM
    core &= (np.abs(across[columns]) < _HALF_WIDTH_MM)[None, None]
    core &= ~_beside_girdle(bone, across, steps)[:, None, None]
    rows = np.nonzero(core)[1]
    if not rows.size:
        return None
    behind = (np.arange(core.shape[1]) - np.median(rows)) * steps[1]
    core &= (np.abs(behind) < _HALF_DEPTH_MM)[None, :, None]
    bodies, _ = ndimage.label(core)
    large = np.bincount(bodies.ravel()) * (np.prod(steps) / 1000) >= _LEAST_ML
    large[0] = False
    if not large.any():
        return None
    return Cores(
        mask=large[bodies],
        hu=thinned(image.array)[:, :, columns],
        steps_mm=steps,
        first_column=columns.start,
        pixels=(thinned.down, thinned.across),
        head_is_last=bool(image.grid.affine_lps_mm[2, 0] > 0),
    )


def _beside_girdle(
    bone: Mask, across: npt.NDArray[np.float64], steps: tuple[float, float, float]
) -> Mask:
    """Which slices show hips or shoulders on both sides."""
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(2, 1)[None]
    thick = ndimage.binary_erosion(bone, cross, iterations=round(_THICK_MM / max(steps[1:])))
    aside = [
        thick[:, :, side].sum(axis=(1, 2)) * steps[1] * steps[2] / 100
        for side in (across < -_ASIDE_MM, across > _ASIDE_MM)
    ]
    return np.asarray(np.minimum(*aside) >= _HIP_CM2)


def _is_axial(grid: Grid) -> bool:
    """Slices follow each other along the patient, columns run across."""
    normal, across = grid.affine_lps_mm[:3, 0], grid.affine_lps_mm[:3, 2]
    return bool(
        abs(normal[2]) > 0.8 * np.linalg.norm(normal)
        and abs(across[0]) > 0.8 * np.linalg.norm(across)
    )
