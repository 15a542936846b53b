"""Findings -> measurement groups (PS3.16 TID 1410, TID 1411) that viewers draw.

Each tracking UID has a line or outline in image coordinates: a viewer that draws nothing for one
of them may drop the whole report. Volumes share the tracking UID of the outline they belong to.
The lines of a lesion stand below the numbers that they show (PS3.16 TID 320).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from highdicom.sr import content as sr_content
from highdicom.sr import templates, value_types
from highdicom.sr.enum import GraphicTypeValues, RelationshipTypeValues
from pydicom.uid import UID, SegmentationStorage

from dicomnode.domain.codes import RATIO, Code
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
    Mark,
    Measurement,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.results import ResultKind
from dicomnode.domain.sop_classes import LABELMAP_SEGMENTATION
from dicomnode.encode.concepts import (
    IMAGE_REGION,
    MEASUREMENT_GROUP,
    OPERATING_POINT,
    PROBABILITY,
    SCORE,
    algorithm_items,
    shared_concept,
)
from dicomnode.encode.document import fill
from dicomnode.encode.origin import Origin
from dicomnode.encode.outlines import largest_slice, outline
from dicomnode.encode.segments import Segment
from dicomnode.encode.tracking import (
    WHOLE_IMAGE,
    has_measured_lines,
    marks_of,
    tracking_identifiers,
)

Group = (
    tuple[value_types.ContainerContentItem]
    | templates.MeasurementsAndQualitativeEvaluations
    | templates.PlanarROIMeasurementsAndQualitativeEvaluations
    | templates.VolumetricROIMeasurementsAndQualitativeEvaluations
)


SEGMENTATION_CLASSES = {
    ResultKind.SEG: SegmentationStorage,
    ResultKind.LABELMAP: UID(LABELMAP_SEGMENTATION),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMaker:
    """Makes the measurement groups of findings on one volume."""

    origin: Origin
    segments: Sequence[Segment]
    segmentation: ResultKind
    """SEG or LABELMAP: the object that segments are referred to in."""

    def groups(self, finding: Finding) -> tuple[Group, ...]:
        """The groups of one finding; empty if it has no place on an image."""
        if has_measured_lines(finding):
            return self._lesion(finding)
        marks = self._drawn(finding)
        if not marks:
            return ()
        shown = [mark.measurement for mark in marks if mark.measurement is not None]
        others = [m for m in numbers_of(finding) if m not in shown]
        segment = self._segment(finding)
        groups: list[Group] = []
        names = tracking_identifiers(finding)
        for name, mark in zip(names, marks, strict=True):
            numbers = [mark.measurement] if mark.measurement else []
            if mark is marks[0] and segment is None:
                numbers += others
            groups.append(self._planar(finding, name, mark, numbers))
        if segment is not None:
            told = [_measurement(finding, number) for number in others]
            groups.append(self._volumetric(finding, segment, told))
        return tuple(groups)

    def whole_image(self) -> Group:
        """A frame around the middle image, for reports that would draw nothing else.

        Viewers fail on a report without a single line (OHIF shows black, older ones an error).
        """
        slices, rows, columns = self.origin.volume.grid.shape
        left, top, right, bottom = 0.5, 0.5, columns - 0.5, rows - 0.5
        # Eight corners and middles: viewers take a closed line of five points for an editable box.
        across, down = columns / 2, rows / 2
        ring = [(left, top), (across, top), (right, top), (right, down), (right, bottom)]
        ring += [(across, bottom), (left, bottom), (left, down), (left, top)]
        points, image = self._place(
            WHOLE_IMAGE, Mark(slice_index=slices // 2, points=np.array(ring))
        )
        # Item by item: most reports on radiographs have it, and highdicom's template, whose checks
        # this needs not, takes three times as long.
        region = value_types.ScoordContentItem(
            name=shared_concept(IMAGE_REGION),
            graphic_type=_graphic_type(points),
            graphic_data=points,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        fill(region, [image])
        group = value_types.ContainerContentItem(
            name=shared_concept(MEASUREMENT_GROUP),
            template_id="1410",
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        tracked = self._tracking(WHOLE_IMAGE)
        fill(group, [*tracked, *algorithm_items(self.origin.identity), region])
        return (group,)

    def _segment(self, finding: Finding) -> Segment | None:
        return next((segment for segment in self.segments if segment.name == finding.name), None)

    def _drawn(self, finding: Finding) -> tuple[Mark, ...]:
        """The finding's own lines, else the outline of its segment."""
        if marks := marks_of(finding):
            return marks
        segment = self._segment(finding)
        if segment is None:
            return ()
        index = largest_slice(segment.mask)
        return (Mark(slice_index=index, points=outline(segment.mask[index])),)

    def _lesion(self, finding: LesionFinding) -> tuple[Group, ...]:
        """TID 1501 with each line below its number; TID 1411 beside it where a segment shows it.

        Both have the one Tracking UID. TID 1411 itself takes no lines (PS3.16 TID 1419).
        """
        segment = self._segment(finding)
        lines = [
            _measurement(finding, mark.measurement, self._coordinates(finding.name, mark))
            for mark in finding.marks
            if mark.measurement is not None
        ]
        shown = [mark.measurement for mark in finding.marks]
        others = [
            _measurement(finding, number) for number in numbers_of(finding) if number not in shown
        ]
        drawn = templates.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(finding.name),
            finding_type=shared_concept(finding.type),
            finding_sites=_sites(finding),
            algorithm_id=algorithm_items(self.origin.identity),
            measurements=lines if segment else [*lines, *others],
        )
        return (drawn, self._volumetric(finding, segment, others)) if segment else (drawn,)

    def _planar(
        self, finding: Finding, name: str, mark: Mark, numbers: Sequence[Measurement]
    ) -> templates.PlanarROIMeasurementsAndQualitativeEvaluations:
        return templates.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=self._region(name, mark),
            tracking_identifier=self._tracking(name),
            finding_type=shared_concept(type_of(finding)),
            finding_sites=_sites(finding),
            algorithm_id=algorithm_items(self.origin.identity),
            measurements=[_measurement(finding, number) for number in numbers],
        )

    def _volumetric(
        self, finding: Finding, segment: Segment, numbers: Sequence[templates.Measurement]
    ) -> templates.VolumetricROIMeasurementsAndQualitativeEvaluations:
        return templates.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=sr_content.ReferencedSegment(
                sop_class_uid=SEGMENTATION_CLASSES[self.segmentation],
                sop_instance_uid=self.origin.uids.instance(self.segmentation),
                segment_number=segment.number,
                source_series=sr_content.SourceSeriesForSegmentation(self.origin.volume.series_uid),
            ),
            tracking_identifier=self._tracking(finding.name),
            finding_type=shared_concept(type_of(finding)),
            finding_sites=_sites(finding),
            algorithm_id=algorithm_items(self.origin.identity),
            measurements=numbers,
        )

    def _tracking(self, name: str) -> templates.TrackingIdentifier:
        return templates.TrackingIdentifier(uid=self.origin.tracking_uid(name), identifier=name)

    def _region(self, name: str, mark: Mark) -> sr_content.ImageRegion:
        points, image = self._place(name, mark)
        return sr_content.ImageRegion(
            graphic_type=_graphic_type(points), graphic_data=points, source_image=image
        )

    def _coordinates(self, name: str, mark: Mark) -> sr_content.CoordinatesForMeasurement:
        points, image = self._place(name, mark)
        return sr_content.CoordinatesForMeasurement(
            graphic_type=_graphic_type(points), graphic_data=points, source_image=image
        )

    def _place(
        self, name: str, mark: Mark
    ) -> tuple[npt.NDArray[np.float64], sr_content.SourceImageForRegion]:
        if not 0 <= mark.slice_index < len(self.origin.volume.frames):
            raise EncodeError(f"a mark of {name!r} lies on no slice of the series")
        points = np.asarray(mark.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise EncodeError(f"a mark of {name!r} has no points")
        frame = self.origin.volume.frames[mark.slice_index]
        return points, sr_content.SourceImageForRegion(
            referenced_sop_class_uid=frame.sop_class_uid,
            referenced_sop_instance_uid=frame.sop_instance_uid,
            referenced_frame_numbers=[frame.frame_number] if frame.frame_number else None,
        )


def type_of(finding: Finding) -> Code:
    """The coded finding."""
    if isinstance(finding, SegmentFinding | LesionFinding):
        return finding.type
    if isinstance(finding, MeasurementFinding | ClassFinding):
        return finding.finding
    raise EncodeError(f"{finding.name!r} is text and has no code")


def numbers_of(finding: Finding) -> tuple[Measurement, ...]:
    """Everything measured or judged, as numbers."""
    if isinstance(finding, LesionFinding):
        judged = [(SCORE, finding.score), (OPERATING_POINT, finding.operating_point)]
        told = [
            Measurement(name=name, value=value, unit=RATIO)
            for name, value in judged
            if value is not None
        ]
        return (*finding.measurements, *told)
    if isinstance(finding, ClassFinding):
        return (
            Measurement(name=PROBABILITY, value=finding.probability, unit=RATIO),
            Measurement(name=OPERATING_POINT, value=finding.operating_point, unit=RATIO),
        )
    if isinstance(finding, CaptionFinding):
        return ()
    return finding.measurements


def checked_value(name: str, number: Measurement) -> float:
    """The value as a float.

    Raises:
        EncodeError: it is not finite, which no content item can hold.
    """
    if not math.isfinite(number.value):
        raise EncodeError(f"{number.name.meaning} of {name!r} is not a finite number")
    return float(number.value)


def _measurement(
    finding: Finding,
    number: Measurement,
    line: sr_content.CoordinatesForMeasurement | None = None,
) -> templates.Measurement:
    return templates.Measurement(
        name=shared_concept(number.name),
        value=checked_value(finding.name, number),
        unit=shared_concept(number.unit),
        derivation=shared_concept(number.derivation) if number.derivation else None,
        referenced_coordinates=[line] if line else None,
    )


def _graphic_type(points: npt.NDArray[np.float64]) -> GraphicTypeValues:
    return GraphicTypeValues.POINT if len(points) == 1 else GraphicTypeValues.POLYLINE


def _sites(finding: Finding) -> Sequence[sr_content.FindingSite] | None:
    """Organs are their own site, so that their laterality has something to stand on."""
    site: Code | None
    laterality = None
    if isinstance(finding, SegmentFinding):
        site = finding.site or finding.type
        laterality = finding.laterality
    elif isinstance(finding, LesionFinding):
        site, laterality = finding.site, finding.laterality
    elif isinstance(finding, MeasurementFinding):
        site = finding.site
    else:
        site = None
    if site is None:
        return None
    return [
        sr_content.FindingSite(
            anatomic_location=shared_concept(site),
            laterality=shared_concept(laterality) if laterality else None,
        )
    ]
