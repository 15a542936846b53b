"""Findings -> one Comprehensive 3D SR after PS3.16 TID 1500 Measurement Report."""

from collections.abc import Sequence
from functools import lru_cache

from highdicom import ContributingEquipment
from highdicom.sr import Comprehensive3DSR, templates, value_types
from highdicom.sr.coding import CodedConcept
from highdicom.sr.enum import RelationshipTypeValues
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.codes import Code
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import CaptionFinding, ClassFinding, Finding, Measurement
from dicomnode.domain.results import ResultKind
from dicomnode.encode.concepts import (
    ABSENT,
    COMMENT,
    FINDING,
    IMAGING_MEASUREMENTS,
    IMAGING_PROCEDURE,
    PRESENT,
    PROCEDURE_REPORTED,
    PROCEDURES,
    QUALITATIVE_EVALUATIONS,
    REPORT_TITLE,
    algorithm_items,
    private_scheme,
    shared_concept,
)
from dicomnode.encode.derivation import Derivation, device_uid
from dicomnode.encode.groups import (
    SEGMENTATION_CLASSES,
    Group,
    GroupMaker,
    checked_value,
    numbers_of,
    type_of,
)
from dicomnode.encode.heading import Heading, finish, heading_of
from dicomnode.encode.origin import Origin
from dicomnode.encode.segments import Segment
from dicomnode.encode.sources import SourceSeries

_SEGMENTATIONS = {
    ResultKind.SR: ResultKind.SEG,
    ResultKind.LABELMAP_REPORT: ResultKind.LABELMAP,
}
RESEARCH_USE = "Research use only. Not for diagnosis."

_CONTENT_SEQUENCE = 0x0040A730
_CONTAINS = RelationshipTypeValues.CONTAINS
_HAS_PROPERTIES = RelationshipTypeValues.HAS_PROPERTIES
_HAS_CONCEPT_MOD = RelationshipTypeValues.HAS_CONCEPT_MOD


def build_report(
    findings: Sequence[Finding],
    segments: Sequence[Segment],
    origin: Origin,
    kind: ResultKind = ResultKind.SR,
) -> Dataset:
    """The report on `findings`; an empty list makes a report that says so.

    `segments` are those of the segmentation object of the same job; `kind` SR refers to its SEG,
    LABELMAP_REPORT to its LABELMAP. Findings with a place become
    measurement groups. What has none (a probability of the whole image, a caption, an organ that
    was not found) goes to Qualitative Evaluations, where it cannot keep a viewer from drawing the
    rest.

    Raises:
        EncodeError: a finding cannot be stated in a report.
    """
    maker = GroupMaker(origin=origin, segments=segments, segmentation=_SEGMENTATIONS[kind])
    groups = {finding.name: maker.groups(finding) for finding in findings}
    root = value_types.ContainerContentItem(name=shared_concept(REPORT_TITLE), template_id="1500")
    placed = [group for of_finding in groups.values() for group in of_finding]
    unplaced = [finding for finding in findings if not groups[finding.name]]
    heading = heading_of(kind, origin)
    notes = _notes(origin, heading, none_found=not findings)
    content = [
        *_english(),
        *templates.ObservationContext(observer_device_context=device_observer(origin.identity)),
        *_procedures(origin.source),
        _measurements(placed or [maker.whole_image()]),
        _evaluations(notes, unplaced, origin.identity),
    ]
    _fill(root, content)
    return _document(root, origin, kind, heading, with_segmentation=bool(segments))


class _Document(Comprehensive3DSR):
    """Without the search for what the stand-ins of source images do not have.

    They name neither patient (`finish` puts it in) nor equipment, and highdicom looks for both
    through all modules of their class.
    """

    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Leave the patient to `finish`."""

    def _add_contributing_equipment(
        self,
        contributing_equipment: Sequence[ContributingEquipment] | None = None,
        _source_image: Dataset | None = None,
    ) -> None:
        super()._add_contributing_equipment(contributing_equipment)


def _document(
    root: Dataset, origin: Origin, kind: ResultKind, heading: Heading, *, with_segmentation: bool
) -> Dataset:
    evidence = [*origin.source.images]
    if with_segmentation:
        evidence.append(_segmentation_reference(origin, _SEGMENTATIONS[kind]))
    check_evidence(root, evidence)
    content = root.ContentSequence
    root.ContentSequence = []
    try:
        # Without its content: highdicom would copy the whole tree twice, which costs as much as
        # everything else here.
        sr = _Document(
            evidence=evidence,
            content=root,
            series_instance_uid=origin.uids.series(kind),
            series_number=heading.series_number,
            sop_instance_uid=origin.uids.instance(kind),
            instance_number=1,
            manufacturer=origin.identity.manufacturer[:64],
            manufacturer_model_name=origin.identity.name[:64],
            software_versions=heading.software_versions[0],
            device_serial_number=heading.device_serial_number,
            is_complete=origin.derivation.complete,
            is_final=False,
            is_verified=False,
            previous_versions=_previous(origin.derivation, kind) or None,
        )
    except (ValueError, TypeError, AttributeError, KeyError) as exc:
        raise EncodeError(f"no report could be made on this source: {type(exc).__name__}") from exc
    _fill(sr, content)
    sr.CodingSchemeIdentificationSequence = [private_scheme()]
    finish(sr, origin.source.patient, heading)
    return sr


def check_evidence(root: Dataset, evidence: Sequence[Dataset]) -> None:
    """Raise if an image or another object is referred to that is not listed as evidence."""
    listed = {str(one.SOPInstanceUID) for one in evidence}
    if not _referred_to(root) <= listed:
        raise EncodeError("the report refers to an object that is not part of its evidence")


def _referred_to(item: Dataset) -> set[str]:
    found = {
        str(reference.ReferencedSOPInstanceUID)
        for reference in item.get("ReferencedSOPSequence", ())
    }
    return found.union(*(_referred_to(child) for child in item.get("ContentSequence", ())))


def _segmentation_reference(origin: Origin, kind: ResultKind) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID = origin.volume.study_uid
    ds.SeriesInstanceUID = origin.uids.series(kind)
    ds.SOPClassUID = SEGMENTATION_CLASSES[kind]
    ds.SOPInstanceUID = origin.uids.instance(kind)
    return ds


@lru_cache(maxsize=1)
def _english() -> templates.LanguageOfContentItemAndDescendants:
    language = CodedConcept("en-US", "RFC5646", "English (United States)")
    return templates.LanguageOfContentItemAndDescendants(language)


@lru_cache(maxsize=16)
def device_observer(identity: AlgorithmIdentity) -> templates.ObserverContext:
    """The algorithm as observer (PS3.16 TID 1002, TID 1004); one for all, not to be changed."""
    return templates.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=templates.DeviceObserverIdentifyingAttributes(
            uid=device_uid(identity),
            name=identity.title,
            manufacturer_name=identity.manufacturer,
            model_name=identity.name,
            serial_number=identity.model_digest,
        ),
    )


def _procedures(source: SourceSeries) -> list[value_types.CodeContentItem]:
    stated = [
        CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for item in source.patient.get("ProcedureCodeSequence", [])
    ]
    by_modality = PROCEDURES.get(str(source.images[0].Modality), IMAGING_PROCEDURE)
    return [
        value_types.CodeContentItem(
            name=shared_concept(PROCEDURE_REPORTED), value=value, relationship_type=_HAS_CONCEPT_MOD
        )
        for value in stated or [shared_concept(by_modality)]
    ]


def _measurements(groups: Sequence[Group]) -> value_types.ContainerContentItem:
    container = value_types.ContainerContentItem(
        name=shared_concept(IMAGING_MEASUREMENTS), relationship_type=_CONTAINS
    )
    _fill(container, [item for group in groups for item in group])
    return container


def _notes(
    origin: Origin, heading: Heading, *, none_found: bool
) -> list[value_types.TextContentItem]:
    derivation = origin.derivation
    notes = [
        _text(COMMENT, RESEARCH_USE),
        _text(COMMENT, f"Intended use: {origin.identity.intended_use}"),
        _text(COMMENT, f"Software: {', '.join(heading.software_versions)}"),
        *(_text(COMMENT, f"Note: {warning}") for warning in origin.volume.warnings),
    ]
    if derivation.predecessors:
        notes.append(
            _text(
                COMMENT,
                f"Revision {derivation.revision}. Supersedes the report and the segmentation "
                "of the earlier revision.",
            )
        )
    if not derivation.complete:
        notes.append(_text(COMMENT, "The study may have been incomplete when it was read."))
    if none_found:
        notes.append(_text(FINDING, "The algorithm reports no finding on this series."))
    return notes


def _evaluations(
    notes: Sequence[value_types.TextContentItem],
    unplaced: Sequence[Finding],
    identity: AlgorithmIdentity,
) -> value_types.ContainerContentItem:
    """TID 1500 row 12; names the algorithm even where no measurement group does."""
    container = value_types.ContainerContentItem(
        name=shared_concept(QUALITATIVE_EVALUATIONS), relationship_type=_CONTAINS
    )
    evaluations = [_evaluation(finding) for finding in unplaced]
    _fill(container, [*algorithm_items(identity), *notes, *evaluations])
    return container


def _fill(item: Dataset, content: Sequence[Dataset]) -> None:
    """Put content items below one; a `ContentSequence` would sort them all by concept as well."""
    item.add_new(_CONTENT_SEQUENCE, "SQ", content)


def _evaluation(finding: Finding) -> value_types.ContentItem:
    if isinstance(finding, CaptionFinding):
        return _text(FINDING, finding.text)
    numbers = [_number(finding, number) for number in numbers_of(finding)]
    if isinstance(finding, ClassFinding):
        item = value_types.CodeContentItem(
            name=shared_concept(finding.finding),
            value=shared_concept(PRESENT if finding.positive else ABSENT),
            relationship_type=_CONTAINS,
        )
    elif numbers:
        item = value_types.CodeContentItem(
            name=shared_concept(FINDING),
            value=shared_concept(type_of(finding)),
            relationship_type=_CONTAINS,
        )
    else:
        return _text(FINDING, f"{finding.name}: nothing was marked.")
    if numbers:
        _fill(item, numbers)
    return item


def _number(finding: Finding, number: Measurement) -> value_types.NumContentItem:
    return value_types.NumContentItem(
        name=shared_concept(number.name),
        value=checked_value(finding.name, number),
        unit=shared_concept(number.unit),
        relationship_type=_HAS_PROPERTIES,
    )


def _text(name: Code, value: str) -> value_types.TextContentItem:
    return value_types.TextContentItem(
        name=shared_concept(name), value=value, relationship_type=_CONTAINS
    )


def _previous(derivation: Derivation, kind: ResultKind) -> list[Dataset]:
    """The earlier reports of the same kind, else those that refer to a SEG."""
    earlier = derivation.predecessors
    alike = [one for one in earlier if one.kind is kind]
    documents = []
    for predecessor in alike or [one for one in earlier if one.kind is ResultKind.SR]:
        ds = Dataset()
        ds.StudyInstanceUID = predecessor.study_uid
        ds.SeriesInstanceUID = predecessor.series_uid
        ds.SOPClassUID = predecessor.sop_class_uid
        ds.SOPInstanceUID = predecessor.sop_instance_uid
        documents.append(ds)
    return documents
