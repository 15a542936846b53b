"""Calcium in the wall of an artery: volume, a score after Agatston, and the plaques' outlines."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import (
    ABNORMAL_STRUCTURE,
    AGATSTON_LIKE,
    CALCIUM_VOLUME,
    ML,
    RATIO,
    VASCULAR_CALCIFICATION,
    VOLUME,
)
from dicomnode.domain.findings import Measurement, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.measured import Measured

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]

CALCIUM_HU = 130.0
NATIVE_BLOOD_HU = 90.0
"""Median of an artery's lumen above which there is contrast medium, and calcium is not scored."""
SMALLEST_PLAQUE_MM2 = 1.0
_LEAST_SIGMAS = 3.0
"""Standard deviations of noise between blood and 130 HU: below, specks of noise are plaques."""
_MARGIN_MM = 30.0
_COLOR = (240, 228, 66)


def calcification_of(artery: SegmentFinding, image: Volume) -> Measured:
    """Volume of calcium in ml, a score after Agatston, and the plaques. Native CT only.

    Plaques are parts of a slice of at least 1 mm2 at or above 130 HU, at least half of which lie in
    the outline: they count whole, since an outline may cut a plaque of the wall, and bone that it
    takes in goes on outside. Each counts its area in mm2 times 1 to 4 by its peak (130, 200, 300,
    400 HU), times the distance of slices over 3 mm. The original is defined for gated 3 mm slices
    of the heart at 120 kV (Agatston 1990): thinner slices and more noise score higher, thicker
    ones lower, so compare only like with like. Nothing where the blood's median shows contrast
    medium, or where its noise alone reaches 130 HU. Plaques are a segment of their own, where there
    are any; they may reach over the outline.
    """
    if not _may_be_scored(image.array[artery.mask]):
        return Measured()
    box = _surroundings(artery.mask, image.grid.spacing_mm)
    between_slices, between_rows, between_columns = image.grid.spacing_mm
    pixel_mm2 = between_rows * between_columns
    within = np.zeros_like(artery.mask[box])
    area, score = 0.0, 0.0
    for index, plaque, peak in _plaques(artery.mask[box], image.array[box], pixel_mm2):
        within[index] |= plaque
        size = float(plaque.sum()) * pixel_mm2
        area += size
        score += size * _weight(peak)
    millilitres = area * between_slices / 1000
    numbers = (
        Measurement(name=CALCIUM_VOLUME, value=millilitres, unit=ML),
        Measurement(name=AGATSTON_LIKE, value=score * between_slices / 3.0, unit=RATIO),
    )
    return Measured(numbers, (_segment(artery, within, box, millilitres),) if area else ())


def _may_be_scored(blood: npt.NDArray[np.float32]) -> bool:
    median = float(np.median(blood))
    # Of the lower half: calcium lies above.
    noise = 1.4826 * float(np.median(median - blood[blood <= median]))
    return median <= NATIVE_BLOOD_HU and CALCIUM_HU - median >= _LEAST_SIGMAS * noise


def _surroundings(mask: Mask, spacing_mm: tuple[float, float, float]) -> Box:
    """A box around the artery, with a margin in which plaques and bone beside it can be told."""
    from scipy import ndimage

    slices, rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    return slices, _wider(rows, spacing_mm[1]), _wider(columns, spacing_mm[2])


def _wider(side: slice, step: float) -> slice:
    margin = round(_MARGIN_MM / step)
    return slice(max(side.start - margin, 0), side.stop + margin)


def _plaques(
    mask: Mask, hu: npt.NDArray[np.float32], pixel_mm2: float
) -> Iterator[tuple[int, Mask, float]]:
    """Slice, pixels and peak in HU of each plaque."""
    from scipy import ndimage

    for index, (inside, plane) in enumerate(zip(mask, hu, strict=True)):
        parts, count = ndimage.label(plane >= CALCIUM_HU, structure=np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        shares = np.bincount(parts[inside], minlength=count + 1)
        for part in np.flatnonzero(shares):
            large = sizes[part] * pixel_mm2 >= SMALLEST_PLAQUE_MM2
            if part and large and 2 * shares[part] >= sizes[part]:
                plaque = parts == part
                yield index, plaque, float(plane[plaque].max())


def _weight(peak: float) -> int:
    """Agatston's factor of a plaque's densest pixel."""
    return 4 if peak >= 400 else 3 if peak >= 300 else 2 if peak >= 200 else 1


def _segment(artery: SegmentFinding, within: Mask, box: Box, millilitres: float) -> SegmentFinding:
    mask = np.zeros_like(artery.mask)
    mask[box] = within
    return SegmentFinding(
        name=f"{artery.name[:50]} calcification",
        category=ABNORMAL_STRUCTURE,
        type=VASCULAR_CALCIFICATION,
        laterality=artery.laterality,
        site=artery.type,
        color=_COLOR,
        mask=mask,
        measurements=(Measurement(name=VOLUME, value=millilitres, unit=ML),),
    )
