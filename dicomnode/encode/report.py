"""Findings -> one Comprehensive 3D SR after PS3.16 TID 1500 Measurement Report."""

from collections.abc import Sequence
from functools import lru_cache

from highdicom.sr import templates, value_types
from highdicom.sr.coding import CodedConcept
from highdicom.sr.enum import RelationshipTypeValues
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.codes import Code
from dicomnode.domain.findings import CaptionFinding, ClassFinding, Finding, Measurement
from dicomnode.domain.results import ResultKind
from dicomnode.encode.concepts import (
    ABSENT,
    CHEST_PROCEDURES,
    COMMENT,
    FINDING,
    IMAGING_MEASUREMENTS,
    IMAGING_PROCEDURE,
    PRESENT,
    PROCEDURE_REPORTED,
    PROCEDURES,
    QUALITATIVE_EVALUATIONS,
    algorithm_items,
    shared_concept,
)
from dicomnode.encode.derivation import device_uid
from dicomnode.encode.document import document, fill
from dicomnode.encode.explicit import kept
from dicomnode.encode.groups import (
    SEGMENTATION_CLASSES,
    Group,
    GroupMaker,
    checked_value,
    numbers_of,
    type_of,
)
from dicomnode.encode.heading import Heading, heading_of
from dicomnode.encode.origin import Origin
from dicomnode.encode.segments import Segment

_SEGMENTATIONS = {
    ResultKind.SR: ResultKind.SEG,
    ResultKind.LABELMAP_REPORT: ResultKind.LABELMAP,
}
RESEARCH_USE = "Research use only. Not for diagnosis."

_CHEST = ("CHEST", "THORAX")
"""BodyPartExamined: the defined term (PS3.16 annex L), and what some devices write."""
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
    placed = [group for of_finding in groups.values() for group in of_finding]
    unplaced = [finding for finding in findings if not groups[finding.name]]
    heading = heading_of(kind, origin)
    notes = _notes(origin, heading, none_found=not findings)
    content = [
        *_english(),
        *device_observer(origin.identity),
        *_procedures(origin),
        _measurements(placed or [maker.whole_image()]),
        _evaluations(notes, unplaced, origin.identity),
    ]
    evidence = [*origin.source.instances]
    if segments:
        evidence.append(_segmentation_reference(origin, _SEGMENTATIONS[kind]))
    return document(content, evidence, origin, kind, heading)


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
    items = templates.LanguageOfContentItemAndDescendants(language)
    for item in items:
        kept(item)
    return items


@lru_cache(maxsize=16)
def device_observer(identity: AlgorithmIdentity) -> templates.ObserverContext:
    """The algorithm as observer (PS3.16 TID 1002, TID 1004); one for all, not to be changed."""
    observer = templates.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=templates.DeviceObserverIdentifyingAttributes(
            uid=device_uid(identity),
            name=identity.title,
            manufacturer_name=identity.manufacturer,
            model_name=identity.name,
            serial_number=identity.model_digest,
        ),
    )
    for item in observer:
        kept(item)
    return observer


def _procedures(origin: Origin) -> list[value_types.CodeContentItem]:
    """What the header names; else what the algorithm reads or the header's body part tells."""
    source = origin.source
    stated = [
        CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for item in source.patient.get("ProcedureCodeSequence", [])
    ]
    if stated:
        return [_procedure(value) for value in stated]
    modality = str(source.images[0].Modality)
    of_chest = CHEST_PROCEDURES.get(modality) if source.body_part in _CHEST else None
    by_modality = PROCEDURES.get(modality, IMAGING_PROCEDURE)
    return [_usual_procedure(origin.identity.procedure or of_chest or by_modality)]


@lru_cache(maxsize=16)
def _usual_procedure(code: Code) -> value_types.CodeContentItem:
    """One for all reports; not to be changed."""
    return kept(_procedure(shared_concept(code)))


def _procedure(value: CodedConcept) -> value_types.CodeContentItem:
    return value_types.CodeContentItem(
        name=shared_concept(PROCEDURE_REPORTED), value=value, relationship_type=_HAS_CONCEPT_MOD
    )


def _measurements(groups: Sequence[Group]) -> value_types.ContainerContentItem:
    container = value_types.ContainerContentItem(
        name=shared_concept(IMAGING_MEASUREMENTS), relationship_type=_CONTAINS
    )
    fill(container, [item for group in groups for item in group])
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
    if derivation.predecessors or derivation.earlier_runs:
        earlier = "run" if derivation.earlier_runs else "revision"
        notes.append(
            _text(
                COMMENT,
                f"Revision {derivation.revision}. Supersedes the report and the segmentation "
                f"of the earlier {earlier}.",
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
    fill(container, [*algorithm_items(identity), *notes, *evaluations])
    return container


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
        fill(item, numbers)
    return item


def _number(finding: Finding, number: Measurement) -> value_types.NumContentItem:
    return _shared_number(number.name, checked_value(finding.name, number), number.unit)


@lru_cache(maxsize=256)
def _shared_number(name: Code, value: float, unit: Code) -> value_types.NumContentItem:
    """One for all reports, which have their operating points in common; not to be changed."""
    number = value_types.NumContentItem(
        name=shared_concept(name),
        value=value,
        unit=shared_concept(unit),
        relationship_type=_HAS_PROPERTIES,
    )
    return kept(number)


@lru_cache(maxsize=256)
def _text(name: Code, value: str) -> value_types.TextContentItem:
    """One for all reports, whose notes are alike; not to be changed."""
    text = value_types.TextContentItem(
        name=shared_concept(name), value=value, relationship_type=_CONTAINS
    )
    return kept(text)
