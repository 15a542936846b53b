"""Marrow of the vertebral bodies, found in an outline of all bone by where they lie."""

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
from dicomnode.domain.findings import Measurement
from dicomnode.domain.volumes import Grid, Volume

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


def vertebral_marrow_of(mask: Mask, image: Volume) -> tuple[Measurement, ...]:
    """Median and standard deviation of HU in the cores of vertebral bodies, and how much that is.

    The core of a body is what lies deeper than 6 mm in bone, near the middle; slices with hips or
    shoulders do not count, so that the sacrum stays out. Contrast medium raises the value, and HU
    are no bone mineral density: compare like with like. Nothing for series that are not axial.

    Args:
        mask: all bone, (slice, row, column).
        image: the CT in HU.
    """
    from scipy import ndimage

    if not _is_axial(image.grid):
        return ()
    bone, steps = _thinned(mask, image.grid)
    across = (np.arange(bone.shape[2]) - np.median(np.nonzero(bone)[2])) * steps[2]
    cross = ndimage.generate_binary_structure(2, 1)[None]
    thick = ndimage.binary_erosion(bone, cross, iterations=round(_THICK_MM / max(steps[1:])))
    aside = [
        thick[:, :, side].sum(axis=(1, 2)) * steps[1] * steps[2] / 100
        for side in (across < -_ASIDE_MM, across > _ASIDE_MM)
    ]
    near = np.flatnonzero(np.abs(across) < _HALF_WIDTH_MM + 2 * DEPTH_MM)
    columns = slice(int(near[0]), int(near[-1]) + 1)
    part = np.pad(bone[:, :, columns], 1)
    core = ndimage.distance_transform_edt(part, sampling=steps)[1:-1, 1:-1, 1:-1] > DEPTH_MM
    core &= (np.abs(across[columns]) < _HALF_WIDTH_MM)[None, None]
    core &= (np.minimum(*aside) < _HIP_CM2)[:, None, None]
    rows = np.nonzero(core)[1]
    if not rows.size:
        return ()
    behind = (np.arange(core.shape[1]) - np.median(rows)) * steps[1]
    core &= (np.abs(behind) < _HALF_DEPTH_MM)[None, :, None]
    bodies, _ = ndimage.label(core)
    voxel_ml = float(np.prod(steps)) / 1000
    large = np.bincount(bodies.ravel()) * voxel_ml >= _LEAST_ML
    large[0] = False
    if not large.any():
        return ()
    values = _thinned(image.array, image.grid)[0][:, :, columns][large[bodies]].astype(np.float64)
    median, spread = float(np.median(values)), float(values.std())
    measured_ml = len(values) * voxel_ml
    return (
        Measurement(name=VERTEBRAL_MARROW, value=median, unit=HOUNSFIELD, derivation=MEDIAN),
        Measurement(
            name=VERTEBRAL_MARROW, value=spread, unit=HOUNSFIELD, derivation=STANDARD_DEVIATION
        ),
        Measurement(name=VERTEBRAL_MARROW_VOLUME, value=measured_ml, unit=ML),
    )


def _thinned(
    array: npt.NDArray[_T], grid: Grid
) -> tuple[npt.NDArray[_T], tuple[float, float, float]]:
    """Every n-th row and column, so that they lie about 1.5 mm apart at least; and all steps."""
    slices, rows, columns = grid.spacing_mm
    down, across = (max(1, int(1.5 / step)) for step in (rows, columns))
    return array[:, ::down, ::across], (slices, down * rows, across * columns)


def _is_axial(grid: Grid) -> bool:
    """Slices follow each other along the patient, columns run across."""
    normal, across = grid.affine_lps_mm[:3, 0], grid.affine_lps_mm[:3, 2]
    return bool(
        abs(normal[2]) > 0.8 * np.linalg.norm(normal)
        and abs(across[0]) > 0.8 * np.linalg.norm(across)
    )
