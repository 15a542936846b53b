"""What is measured in segments: volumes, areas, attenuation, the cardiothoracic ratio.

What only CT can tell is in `ct_measures`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import (
    AREA,
    ATTENUATION,
    CARDIAC_DIAMETER,
    CARDIOTHORACIC_RATIO,
    CHEST,
    HOUNSFIELD,
    MEAN,
    ML,
    MM,
    MM2,
    PIXELS,
    RATIO,
    STANDARD_DEVIATION,
    THORACIC_DIAMETER,
    VOLUME,
    Code,
)
from dicomnode.domain.findings import (
    Finding,
    Mark,
    Measurement,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.pipeline.calcium import calcification_of
from dicomnode.pipeline.ct_measures import (
    core_attenuation_of,
    emphysema_of,
    fat_of,
    lean_of,
    mean_area_of,
    surface_of,
)
from dicomnode.pipeline.manifest import AnyMeasure, CardiothoracicRatio, InSegments
from dicomnode.pipeline.measured import Measured
from dicomnode.pipeline.spine import vertebral_marrow_of

Mask = npt.NDArray[np.bool_]


def volume_of(mask: Mask, image: Volume) -> tuple[Measurement, ...]:
    """Voxels times the volume of one, in ml."""
    millilitres = int(mask.sum()) * image.grid.voxel_mm3 / 1000
    return (Measurement(name=VOLUME, value=millilitres, unit=ML),)


def area_of(mask: Mask, image: Volume) -> tuple[Measurement, ...]:
    """Pixels times the area of one, in mm2; the number of pixels if there is no spacing."""
    _, between_rows, between_columns = image.grid.spacing_mm
    if not image.grid.calibrated:
        return (Measurement(name=AREA, value=float(mask.sum()), unit=PIXELS),)
    area = int(mask.sum()) * between_rows * between_columns
    return (Measurement(name=AREA, value=area, unit=MM2),)


def attenuation_of(mask: Mask, image: Volume) -> tuple[Measurement, ...]:
    """Mean and standard deviation (of all voxels, not of a sample) in Hounsfield units."""
    values = image.array[mask].astype(np.float64)
    return tuple(
        Measurement(name=ATTENUATION, value=float(value), unit=HOUNSFIELD, derivation=derivation)
        for value, derivation in ((values.mean(), MEAN), (values.std(), STANDARD_DEVIATION))
    )


IN_SEGMENTS: Mapping[str, Callable[[Mask, Volume], tuple[Measurement, ...]]] = {
    "volume": volume_of,
    "area": area_of,
    "mean_hu": attenuation_of,
    "emphysema": emphysema_of,
    "core_hu": core_attenuation_of,
    "fat_volume": fat_of,
    "lean_volume": lean_of,
    "mean_area": mean_area_of,
    "surface": surface_of,
}
"""Measures that are numbers of a segment alone."""

WITH_PARTS: Mapping[str, Callable[[SegmentFinding, Volume], Measured]] = {
    "vertebral_marrow": vertebral_marrow_of,
    "calcification": calcification_of,
}
"""Measures that also find something within a segment."""


def measure_all(
    segments: Sequence[SegmentFinding], measures: Sequence[AnyMeasure], image: Volume
) -> tuple[Finding, ...]:
    """The segments with their measurements, then what was found within them or draws on several.

    Segments are not empty. A measure of a segment that was not found is left out.
    """
    by_name = {segment.name: segment for segment in segments}
    beside: list[Finding] = []
    for measure in measures:
        if isinstance(measure, InSegments):
            for name in measure.of:
                if name in by_name:
                    segment = by_name[name]
                    taken = _taken(measure.measure, segment, image)
                    told = segment.measurements + taken.numbers
                    by_name[name] = replace(segment, measurements=told)
                    beside.extend(taken.parts)
        else:
            beside.extend(_cardiothoracic_ratio(by_name, measure, image.grid))
    return (*(by_name[segment.name] for segment in segments), *beside)


def _taken(measure: str, segment: SegmentFinding, image: Volume) -> Measured:
    if measure in WITH_PARTS:
        return WITH_PARTS[measure](segment, image)
    return Measured(IN_SEGMENTS[measure](segment.mask, image))


def _cardiothoracic_ratio(
    by_name: Mapping[str, SegmentFinding], measure: CardiothoracicRatio, grid: Grid
) -> tuple[MeasurementFinding, ...]:
    """Nothing unless heart and both lungs were found."""
    if not {measure.heart, *measure.lungs} <= by_name.keys():
        return ()
    right, left = (by_name[name].mask[0] for name in measure.lungs)
    return (cardiothoracic_ratio(by_name[measure.heart].mask[0], right | left, grid),)


def cardiothoracic_ratio(heart: Mask, lungs: Mask, grid: Grid) -> MeasurementFinding:
    """Greatest width of the heart over greatest inner width of the thorax.

    Masks are (rows, columns) and not empty. Each width runs along the rows, from the leftmost
    column that holds a pixel of the mask to the rightmost one, both included; the two ends may
    lie in different rows. Each is drawn as a horizontal line half-way between the rows of
    its two ends.
    """
    between_columns = grid.spacing_mm[2]
    unit = MM if grid.calibrated else PIXELS
    cardiac = _widest(heart, between_columns, CARDIAC_DIAMETER, unit)
    thoracic = _widest(lungs, between_columns, THORACIC_DIAMETER, unit)
    widths = tuple(mark.measurement for mark in (cardiac, thoracic) if mark.measurement)
    ratio = widths[0].value / widths[1].value
    return MeasurementFinding(
        name="Cardiothoracic ratio",
        finding=CARDIOTHORACIC_RATIO,
        site=CHEST,
        measurements=(
            Measurement(name=CARDIOTHORACIC_RATIO, value=ratio, unit=RATIO),
            *widths,
        ),
        marks=(cardiac, thoracic),
    )


def _widest(mask: Mask, between_columns: float, name: Code, unit: Code) -> Mark:
    columns = np.flatnonzero(mask.any(axis=0))
    first, last = int(columns[0]), int(columns[-1])
    row = (_middle(mask[:, first]) + _middle(mask[:, last])) / 2
    return Mark(
        slice_index=0,
        # Corners, as PS3.3 C.18.6 counts: the line ends at the outer edges of the end pixels.
        points=np.array([[first, row], [last + 1, row]], dtype=np.float64),
        measurement=Measurement(name=name, value=(last + 1 - first) * between_columns, unit=unit),
    )


def _middle(column: npt.NDArray[np.bool_]) -> float:
    """Mean of the rows set in one column of pixels, in coordinates of pixel corners."""
    return float(np.flatnonzero(column).mean()) + 0.5
