"""Two CTs of one patient laid on each other by their tissues; says so where that fails.

A rigid movement with a scale for each axis of the patient (weight, breath, tilt). First the shift
that correlates best over all shifts (masked correlation in frequency space, Padfield 2012), so
that it does not matter which part of the body either scan shows; then all nine parameters by least
squares on the smoothed tissues. What the result is worth is the correlation of the tissues where
both scans lie, and how much of the body that is.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from dicomnode.domain.follow_up import BodyMap
from dicomnode.pipeline.body_map import AIR, BONE, FAT, NOT_IMAGED, SOFT, classes_of

LEAST_AGREEMENT = 0.92
"""Scans of different patients came to at most 0.90; see docs/measurements.md."""
LEAST_COMMON_MM = 60.0
_OVERLAP = 0.25
"""Of the smaller scan, that shifts are looked for in."""
_MOST_TURN = np.radians(12)
_MOST_SCALE = 1.2
_MOST_MOVED_MM = 60.0
_POINTS = 6_000
# How much each tissue tells: bone moves least, lungs have the clearest shape.
_WEIGHTS = {AIR: 0.0, FAT: 1.0, SOFT: 1.3, BONE: 3.0}
_OUTSIDE_WEIGHT = 0.2

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How points of the earlier scan come to lie in the present one."""

    matrix: Points
    """4 x 4, LPS mm to LPS mm."""
    agreement: float
    """-1 to 1."""
    common_mm: float
    """Along the body."""
    inside: BodyMap
    """The present scan."""

    @property
    def usable(self) -> bool:
        """Good enough to bring lesions in place."""
        return self.agreement >= LEAST_AGREEMENT and self.common_mm >= LEAST_COMMON_MM

    def moved(self, points: Points) -> Points:
        """(n, 3) of the earlier scan, LPS mm, in the present one."""
        return np.asarray(points @ self.matrix[:3, :3].T + self.matrix[:3, 3])

    def shows(self, points: Points) -> npt.NDArray[np.bool_]:
        """Whether the present scan has an image at each of (n, 3) points, LPS mm."""
        indices = np.round(_indices(points, self.inside)).astype(int)
        shape = np.array(self.inside.shape)
        within = ((indices >= 0) & (indices < shape)).all(axis=1)
        found = classes_of(self.inside)[tuple(np.clip(indices, 0, shape - 1).T)]
        return np.asarray(within & (found != NOT_IMAGED))


def register(earlier: BodyMap, present: BodyMap) -> Registration:
    """Lay the earlier scan on the present one. The same maps always give the same result."""
    fixed, moving = _Tissue.of(present), _Tissue.of(earlier)
    if min(fixed.imaged.sum(), moving.imaged.sum()) == 0:
        return _nothing(present)
    start = _coarse(fixed, moving)
    points = _points_in(fixed)
    pivot = points.mean(axis=0)
    wanted = fixed.at(points)[0]

    def differences(parameters: Points) -> Points:
        back = np.linalg.inv(_matrix(parameters, start, pivot))
        values, imaged = moving.at(points @ back[:3, :3].T + back[:3, 3])
        return np.where(imaged > 0.5, values - wanted, 0.0)

    limits = np.array([_MOST_MOVED_MM] * 3 + [_MOST_TURN] * 3 + [np.log(_MOST_SCALE)] * 3)
    # Here and below: a node that starts has nothing to lay on each other yet.
    from scipy import optimize

    found = optimize.least_squares(
        differences,
        np.zeros(9),
        bounds=(-limits, limits),
        x_scale=[10.0] * 3 + [0.1] * 3 + [0.05] * 3,
        diff_step=1e-2,
        loss="soft_l1",
        max_nfev=30,
    )
    matrix = _matrix(found.x, start, pivot)
    agreement, common = _worth(matrix, points, fixed, moving)
    return Registration(matrix=matrix, agreement=agreement, common_mm=common, inside=present)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tissue:
    """A map as smooth values, to be sampled anywhere."""

    body: BodyMap
    values: npt.NDArray[np.float64]
    imaged: npt.NDArray[np.bool_]
    dense: npt.NDArray[np.bool_]
    """The body."""

    @classmethod
    def of(cls, body: BodyMap) -> "_Tissue":
        classes = classes_of(body)
        table = np.full(256, _OUTSIDE_WEIGHT)
        for tissue, weight in _WEIGHTS.items():
            table[tissue] = weight
        imaged = classes != NOT_IMAGED
        return cls(
            body=body,
            values=ndimage.gaussian_filter(table[classes], 1.0, mode="nearest"),
            imaged=imaged,
            dense=imaged & (classes > 0),
        )

    def at(self, points: Points) -> tuple[Points, Points]:
        """Values at (n, 3) points in LPS mm, and how far the scan reaches there (0 to 1)."""
        indices = _indices(points, self.body).T
        values = ndimage.map_coordinates(self.values, indices, order=1, mode="nearest")
        shape = np.array(self.body.shape)[:, None]
        within = ((indices >= -0.5) & (indices <= shape - 0.5)).all(axis=0)
        inside = ndimage.map_coordinates(
            self.imaged.astype(np.float32), indices, order=0, mode="nearest"
        )
        return values, np.where(within, inside, 0.0)


def _coarse(fixed: _Tissue, moving: _Tissue) -> Points:
    """The shift (x, y, z), mm, that correlates best, of all that leave enough in common."""
    # Of one shape, since what the function returns for two depends on their difference.
    shape = np.maximum(fixed.body.shape, moving.body.shape)
    padded = [
        np.pad(array, [(0, n - own) for n, own in zip(shape, array.shape, strict=True)])
        for array in (fixed.values, moving.values, fixed.imaged, moving.imaged)
    ]
    shift, _, _ = phase_cross_correlation(
        padded[0],
        padded[1],
        reference_mask=padded[2],
        moving_mask=padded[3],
        overlap_ratio=_OVERLAP,
    )
    offset = np.array(fixed.body.origin_lps_mm) - np.array(moving.body.origin_lps_mm)
    return np.asarray(np.asarray(shift)[::-1] * fixed.body.spacing_mm + offset)


def _indices(points: Points, body: BodyMap) -> Points:
    """(n, 3) of LPS mm -> (z, y, x) indices of the map."""
    return (points - np.array(body.origin_lps_mm))[:, ::-1] / body.spacing_mm


def _points_in(fixed: _Tissue) -> Points:
    """Centres of voxels in and around the body, evenly thinned; (n, 3) LPS mm."""
    around = ndimage.binary_dilation(fixed.dense, iterations=2) & fixed.imaged
    indices = np.argwhere(around if around.any() else fixed.imaged)
    thinned = indices[:: max(1, len(indices) // _POINTS)]
    return np.asarray(thinned[:, ::-1] * fixed.body.spacing_mm + np.array(fixed.body.origin_lps_mm))


def _matrix(parameters: Points, start: Points, pivot: Points) -> Points:
    """Shift (mm, beside `start`), turn (radians) and scales (logarithms) about `pivot`."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    turn = Rotation.from_rotvec(parameters[3:6]).as_matrix()
    matrix[:3, :3] = turn * np.exp(parameters[6:9])
    matrix[:3, 3] = pivot + parameters[:3] - matrix[:3, :3] @ (pivot - start)
    return matrix


def _worth(matrix: Points, points: Points, fixed: _Tissue, moving: _Tissue) -> tuple[float, float]:
    """Correlation where both scans lie, and the length along the body of that part."""
    back = np.linalg.inv(matrix)
    there = points @ back[:3, :3].T + back[:3, 3]
    values, imaged = moving.at(there)
    wanted, _ = fixed.at(points)
    both = imaged > 0.5
    if both.sum() < len(points) * 0.02 or np.ptp(wanted[both]) == 0 or np.ptp(values[both]) == 0:
        return 0.0, 0.0
    agreement = float(np.corrcoef(wanted[both], values[both])[0, 1])
    return agreement, float(np.ptp(points[both, 2])) + fixed.body.spacing_mm


def _nothing(present: BodyMap) -> Registration:
    return Registration(matrix=np.eye(4), agreement=0.0, common_mm=0.0, inside=present)
