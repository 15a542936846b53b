"""Findings -> DICOM objects on disk, checked against the mask they came from."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import Finding, LesionFinding
from dicomnode.domain.identifiers import InstanceUid, SeriesUid
from dicomnode.domain.results import USUAL_KINDS, EncodedObject, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.capture import build_capture
from dicomnode.encode.capture_gate import check_capture
from dicomnode.encode.content import content_digest
from dicomnode.encode.derivation import Derivation, ResultUids
from dicomnode.encode.files import file_bytes, sha256, staged
from dicomnode.encode.gate import check_segmentation
from dicomnode.encode.key_objects import build_key_objects
from dicomnode.encode.key_objects_gate import check_key_objects
from dicomnode.encode.origin import Origin
from dicomnode.encode.presentation import build_presentation
from dicomnode.encode.presentation_gate import check_presentation
from dicomnode.encode.report import build_report
from dicomnode.encode.report_gate import check_report
from dicomnode.encode.segmentation import build_segmentation, overlap
from dicomnode.encode.segments import segments_of
from dicomnode.encode.sources import read_source_series
from dicomnode.settings import OutputSettings


def encode_results(
    findings: Sequence[Finding],
    volume: Volume,
    *,
    identity: AlgorithmIdentity,
    derivation: Derivation,
    out: Path,
    settings: OutputSettings,
    kinds: Collection[ResultKind] = USUAL_KINDS,
    do_without: Callable[[ResultKind, EncodeError], None] | None = None,
) -> tuple[EncodedObject, ...]:
    """Write a SEG (if a finding has a mask), an SR and what else `kinds` asks for to `out`.

    They are returned in that order. SEG and SR are always made; a LABELMAP and the report that
    refers to it only of segments that do not overlap. Each file gets its name only after
    it was flushed, read back and found to lie where the findings lie. Equal arguments give
    byte-identical files, so this may run any number of times. Of the files behind `volume` only
    headers are read. `do_without` is told of each secondary capture, presentation state and key
    object selection that could not be made or failed its check; the others are made nevertheless.

    Raises:
        GeometryMismatch: what was written does not lie where the findings lie.
        EncodeError: a source header or a finding cannot be stated in DICOM, or the disk refused.
    """
    if derivation.made_at.tzinfo is None:
        raise EncodeError("made_at has no time zone")
    if len(volume.frames) != volume.grid.shape[0]:
        raise EncodeError(f"{len(volume.frames)} frames for {volume.grid.shape[0]} slices")
    segments = segments_of(findings, volume)
    said = content_digest(
        findings, volume, identity=identity, derivation=derivation, settings=settings
    )
    earlier = [one for one in derivation.earlier_runs if one.kind is ResultKind.SR]
    uids = ResultUids.of(derivation, identity, volume).saying(
        said, [one.sop_instance_uid for one in earlier]
    )
    origin = Origin(
        volume=volume,
        source=read_source_series(volume),
        identity=identity,
        derivation=_of_others(derivation, uids),
        uids=uids,
        settings=settings,
        carried={
            finding.name: finding.tracking_uid
            for finding in findings
            if isinstance(finding, LesionFinding) and finding.tracking_uid
        },
    )
    report = build_report(findings, segments, origin)
    encoded = []
    if segments:
        segmentation = build_segmentation(segments, origin)
        encoded.append(_publish(ResultKind.SEG, segmentation, out, findings, volume))
    encoded.append(_publish(ResultKind.SR, report, out, findings, volume))
    if ResultKind.LABELMAP in kinds and segments and not overlap(segments):
        labelmap = build_segmentation(segments, origin, ResultKind.LABELMAP)
        encoded.append(_publish(ResultKind.LABELMAP, labelmap, out, findings, volume))
        if ResultKind.LABELMAP_REPORT in kinds:
            report = build_report(findings, segments, origin, ResultKind.LABELMAP_REPORT)
            encoded.append(_publish(ResultKind.LABELMAP_REPORT, report, out, findings, volume))
    for kind, build in _ON_REQUEST.items():
        try:
            ds = build(findings, origin) if kind in kinds else None
            if ds is not None:
                encoded.append(_publish(kind, ds, out, findings, volume))
        except EncodeError as exc:
            if do_without is None:
                raise
            do_without(kind, exc)
    return tuple(encoded)


def _of_others(derivation: Derivation, uids: ResultUids) -> Derivation:
    """A rerun that makes the same objects supersedes none of them."""
    own = {uids.instance(kind) for kind in ResultKind}
    earlier = [one for one in derivation.earlier_runs if one.sop_instance_uid not in own]
    return replace(derivation, earlier_runs=tuple(earlier))


_ON_REQUEST: Mapping[ResultKind, Callable[[Sequence[Finding], Origin], Dataset | None]] = {
    ResultKind.SECONDARY_CAPTURE: build_capture,
    ResultKind.GSPS: build_presentation,
    ResultKind.KOS: build_key_objects,
}
_CHECKS = {
    ResultKind.SEG: check_segmentation,
    ResultKind.SR: check_report,
    ResultKind.LABELMAP: check_segmentation,
    ResultKind.LABELMAP_REPORT: check_report,
    ResultKind.SECONDARY_CAPTURE: check_capture,
    ResultKind.GSPS: check_presentation,
    ResultKind.KOS: check_key_objects,
}


def _publish(
    kind: ResultKind, ds: Dataset, out: Path, findings: Sequence[Finding], volume: Volume
) -> EncodedObject:
    path = out / f"{kind.value}_{ds.SOPInstanceUID}.dcm"
    content = file_bytes(ds)
    with staged(content, path) as written:
        _CHECKS[kind](written, findings, volume)
    return EncodedObject(
        kind=kind,
        sop_instance_uid=InstanceUid(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        study_uid=volume.study_uid,
        series_uid=SeriesUid(ds.SeriesInstanceUID),
        path=path,
        sha256=sha256(content),
    )
