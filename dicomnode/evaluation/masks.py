"""How well a mask fits another: Dice, MONAI's surface distances in mm, volumes; with intervals.

Surface distances are taken between the centres of the border voxels of both masks, so two masks
that differ by less than a voxel may have none.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from dicomnode.evaluation.ranking import Interval

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One structure in one case. Distances are NaN if either mask is empty, Dice if both are."""

    dice: float
    asd_mm: float
    """Average symmetric surface distance."""
    hd95_mm: float
    """95th percentile of the distances in each direction, the larger of the two."""
    found_ml: float
    true_ml: float

    @property
    def error_ml(self) -> float:
        """Found volume minus true volume."""
        return self.found_ml - self.true_ml


def fit_of(found: Mask, true: Mask, spacing_mm: Sequence[float], voxel_mm3: float) -> Fit:
    """Compare two masks on one grid.

    Args:
        found: what a model drew, any axes.
        true: the reference, of the same shape.
        spacing_mm: voxel's extent along each axis.
        voxel_mm3: volume of a voxel (less than the product of the spacings on a sheared grid).
    """
    if found.shape != true.shape:
        raise ValueError(f"masks of {found.shape} and {true.shape} lie on different grids")
    drawn, there = int(found.sum()), int(true.sum())
    asd, hd95 = nan, nan
    if drawn and there:
        asd, hd95 = _surface_distances(*_cropped(found, true), spacing_mm)
    return Fit(
        dice=2 * int((found & true).sum()) / (drawn + there) if drawn + there else nan,
        asd_mm=asd,
        hd95_mm=hd95,
        found_ml=drawn * voxel_mm3 / 1000,
        true_ml=there * voxel_mm3 / 1000,
    )


def _cropped(found: Mask, true: Mask) -> tuple[Mask, Mask]:
    """Both around their common box: distances do not change, and whole CTs are mostly empty."""
    box = []
    for axis in range(found.ndim):
        others = tuple(n for n in range(found.ndim) if n != axis)
        where = np.flatnonzero((found | true).any(axis=others))
        box.append(slice(max(0, where[0] - 1), where[-1] + 2))
    return found[tuple(box)], true[tuple(box)]


def _surface_distances(found: Mask, true: Mask, spacing: Sequence[float]) -> tuple[float, float]:
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_distance import compute_average_surface_distance

    # An empty rim, so that a mask that fills its array has a surface there too.
    pair = [torch.from_numpy(np.pad(mask, 1))[None, None] for mask in (found, true)]
    spacing = list(spacing)
    with warnings.catch_warnings():
        # MONAI's metrics call their own deprecated arguments.
        warnings.simplefilter("ignore", FutureWarning)
        asd = compute_average_surface_distance(
            pair[0], pair[1], include_background=True, symmetric=True, spacing=spacing
        )
        hd95 = compute_hausdorff_distance(
            pair[0], pair[1], include_background=True, percentile=95, spacing=spacing
        )
    return float(asd), float(hd95)


def mean_interval(values: Numbers, patients: Sequence[str], *, draws: int = 1000) -> Interval:
    """The mean of what is not NaN with its 95 % interval; whole patients are drawn again.

    NaN with less than two patients: one says nothing of others.
    """
    known = ~np.isnan(values)
    value = float(values[known].mean()) if known.any() else nan
    labels = np.asarray(patients)[known]
    names = np.unique(labels)
    if len(names) < 2:
        return Interval(value=value, low=nan, high=nan)
    sums = np.array([values[known][labels == name].sum() for name in names])
    counts = np.array([(labels == name).sum() for name in names])
    picks = np.random.default_rng(0).integers(0, len(names), (draws, len(names)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Bland and Altman's limits: 95 % of differences lie between them, if they are normal."""

    bias: float
    low: float
    high: float


def limits_of_agreement(found: Numbers, true: Numbers) -> Agreement:
    """Of found minus true; limits are NaN with less than two pairs."""
    apart = found - true
    bias = float(apart.mean()) if len(apart) else nan
    spread = 1.96 * float(apart.std(ddof=1)) if len(apart) > 1 else nan
    return Agreement(bias=bias, low=bias - spread, high=bias + spread)
