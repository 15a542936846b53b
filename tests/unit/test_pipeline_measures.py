"""What is measured in masks."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from dicomnode.domain.codes import (
    AREA,
    ATTENUATION,
    CARDIOTHORACIC_RATIO,
    HOUNSFIELD,
    MEAN,
    ML,
    MM,
    MM2,
    PIXELS,
    RATIO,
    STANDARD_DEVIATION,
    VOLUME,
    Code,
)
from dicomnode.domain.findings import MeasurementFinding, SegmentFinding
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.volumes import Grid, SourceFrame, Volume
from dicomnode.pipeline.manifest import CardiothoracicRatio, InSegments
from dicomnode.pipeline.measures import cardiothoracic_ratio, measure_all

LUNG = Code("39607008", "SCT", "Lung")


def image(
    array: npt.NDArray[np.float32], *, spacing: tuple[float, float, float], calibrated: bool = True
) -> Volume:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing
    affine[3, 3] = 1
    frame = SourceFrame(
        path=Path("x.dcm"),
        sop_instance_uid=InstanceUid("1.2"),
        sop_class_uid="1.3",
        frame_number=None,
    )
    slices, rows, columns = array.shape
    return Volume(
        study_uid=StudyUid("1.4"),
        series_uid=SeriesUid("1.5"),
        modality="CT",
        array=array,
        grid=Grid(
            affine_lps_mm=affine,
            shape=(slices, rows, columns),
            frame_of_reference_uid=None,
            calibrated=calibrated,
        ),
        frames=(frame,) * slices,
    )


def segment(mask: npt.NDArray[np.bool_], name: str = "lung") -> SegmentFinding:
    return SegmentFinding(
        name=name, category=LUNG, type=LUNG, laterality=None, color=(0, 0, 0), mask=mask
    )


def in_segments(measure: Literal["volume", "area", "mean_hu"]) -> InSegments:
    return InSegments(measure=measure, of=("lung",))


def test_volume_is_in_millilitres() -> None:
    mask = np.zeros((3, 4, 5), dtype=np.bool_)
    mask[1, :2, :3] = True
    volume = image(np.zeros((3, 4, 5), np.float32), spacing=(5.0, 2.0, 0.5))
    (finding,) = measure_all([segment(mask)], [in_segments("volume")], volume)
    assert isinstance(finding, SegmentFinding)
    (measured,) = finding.measurements
    assert (measured.name, measured.unit) == (VOLUME, ML)
    assert measured.value == pytest.approx(6 * 5.0 / 1000)


@pytest.mark.parametrize(
    ("calibrated", "value", "unit"), [(True, 6 * 2.0 * 0.5, MM2), (False, 6.0, PIXELS)]
)
def test_area_is_in_pixels_where_there_is_no_spacing(
    calibrated: bool, value: float, unit: Code
) -> None:
    mask = np.zeros((1, 4, 5), dtype=np.bool_)
    mask[0, :2, :3] = True
    radiograph = image(
        np.zeros((1, 4, 5), np.float32), spacing=(1.0, 2.0, 0.5), calibrated=calibrated
    )
    (finding,) = measure_all([segment(mask)], [in_segments("area")], radiograph)
    assert isinstance(finding, SegmentFinding)
    (measured,) = finding.measurements
    assert (measured.name, measured.unit) == (AREA, unit)
    assert measured.value == pytest.approx(value)


def test_attenuation_is_mean_and_deviation_inside_the_mask() -> None:
    array = np.full((1, 1, 5), 999, dtype=np.float32)
    array[0, 0, :3] = [-800, -700, -900]
    mask = array < 0
    (finding,) = measure_all(
        [segment(mask)], [in_segments("mean_hu")], image(array, spacing=(1, 1, 1))
    )
    assert isinstance(finding, SegmentFinding)
    mean, deviation = finding.measurements
    assert (mean.name, mean.unit, mean.derivation) == (ATTENUATION, HOUNSFIELD, MEAN)
    assert mean.value == pytest.approx(-800)
    assert deviation.derivation == STANDARD_DEVIATION
    assert deviation.value == pytest.approx(np.std([-800, -700, -900]))


def test_several_measures_of_one_segment_add_up() -> None:
    array = np.zeros((2, 2, 2), np.float32)
    (finding,) = measure_all(
        [segment(array == 0)],
        [in_segments("volume"), in_segments("mean_hu")],
        image(array, spacing=(1, 1, 1)),
    )
    assert isinstance(finding, SegmentFinding)
    assert [measured.name for measured in finding.measurements] == [
        VOLUME,
        ATTENUATION,
        ATTENUATION,
    ]


def chest() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Heart (8 columns), right lung, left lung; 20 columns from rib to rib in different rows."""
    heart, right, left = (np.zeros((12, 30), dtype=np.bool_) for _ in range(3))
    heart[6:8, 11:17] = True
    heart[8, 13:19] = True
    right[2:5, 6:9] = True
    right[8, 5:7] = True
    left[3:9, 20:25] = True
    return heart, right, left


def test_cardiothoracic_ratio_spans_the_whole_masks() -> None:
    heart, right, left = chest()
    grid = image(np.zeros((1, 12, 30), np.float32), spacing=(1.0, 0.3, 0.2)).grid
    finding = cardiothoracic_ratio(heart, right | left, grid)
    ratio, cardiac, thoracic = finding.measurements
    assert (ratio.name, ratio.unit, ratio.value) == (CARDIOTHORACIC_RATIO, RATIO, 8 / 20)
    assert cardiac.value == pytest.approx(8 * 0.2)
    assert cardiac.unit == MM
    assert thoracic.value == pytest.approx(20 * 0.2)


def test_diameters_are_drawn_as_horizontal_lines_of_their_length() -> None:
    heart, right, left = chest()
    grid = image(np.zeros((1, 12, 30), np.float32), spacing=(1.0, 0.3, 0.2)).grid
    heart_line, thorax_line = cardiothoracic_ratio(heart, right | left, grid).marks
    # Rows 6, 7 (left end) and 8 (right end): half-way between 7.0 and 8.5.
    np.testing.assert_allclose(heart_line.points, [[11, 7.75], [19, 7.75]])
    np.testing.assert_allclose(thorax_line.points, [[5, 7.25], [25, 7.25]])
    for mark in (heart_line, thorax_line):
        assert mark.measurement is not None
        length = (mark.points[1, 0] - mark.points[0, 0]) * 0.2
        assert mark.measurement.value == pytest.approx(length)


def test_ratio_without_spacing_has_diameters_in_pixels() -> None:
    heart, right, left = chest()
    grid = image(np.zeros((1, 12, 30), np.float32), spacing=(1.0, 1.0, 1.0), calibrated=False).grid
    _, cardiac, thoracic = cardiothoracic_ratio(heart, right | left, grid).measurements
    assert (cardiac.value, cardiac.unit) == (8, PIXELS)
    assert (thoracic.value, thoracic.unit) == (20, PIXELS)


@pytest.mark.parametrize("missing", ["heart", "right lung", "left lung", None])
def test_ratio_needs_heart_and_both_lungs(missing: str | None) -> None:
    masks = dict(zip(("heart", "right lung", "left lung"), chest(), strict=True))
    found = [
        replace(segment(mask[np.newaxis]), name=name)
        for name, mask in masks.items()
        if name != missing
    ]
    measure = CardiothoracicRatio(
        measure="cardiothoracic_ratio", heart="heart", lungs=("right lung", "left lung")
    )
    findings = measure_all(
        found, [measure], image(np.zeros((1, 12, 30), np.float32), spacing=(1, 1, 1))
    )
    assert findings[: len(found)] == tuple(found)
    drawn = [finding for finding in findings if isinstance(finding, MeasurementFinding)]
    assert len(drawn) == (missing is None)
