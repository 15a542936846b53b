"""A report's text out of a DICOM SR (PS3.3 A.35): Basic Text, Enhanced, Comprehensive, 3D."""

import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import InstanceUnreadable
from dicomnode.domain.incoming_reports import IncomingReport, ReportSource, ReportStatus
from dicomnode.domain.reports import ReportPart

LARGEST = 4 * 1024 * 1024
"""Bytes of a data set, inflated; each may cost a hundred in memory while it is read."""
DEEPEST = 40
MOST_ITEMS = 20_000
# Document sections (PS3.16 CID 7001) by DICOM or LOINC code, in whatever language they are named.
SECTIONS = {
    **dict.fromkeys(("121060", "11329-0", "121110", "55108-5"), "history"),
    **dict.fromkeys(("121062", "55115-0", "121109", "18785-6"), "indication"),
    **dict.fromkeys(("121064", "55111-9"), "technique"),
    **dict.fromkeys(("121066", "55114-3", "121068", "18834-2"), "comparison"),
    **dict.fromkeys(("121070", "18782-3"), "findings"),
    **dict.fromkeys(("121072", "19005-8"), "impression"),
    **dict.fromkeys(("121074", "18783-1"), "recommendation"),
    **dict.fromkeys(("121076", "55110-1"), "conclusion"),
    **dict.fromkeys(("121078", "55107-7"), "addendum"),
    **dict.fromkeys(("121111", "55112-7"), "summary"),
}
MEASUREMENT_TEMPLATES = frozenset({"1500", "10001", "10011"})
"""Measurements of software, and dose: no person's words."""


def read_sr(path: Path) -> IncomingReport | None:
    """The report in an SR instance; None if nobody's words are in it.

    Text items become parts named by the containers they stand in (`history / lungs`); coded and
    numeric items among them are rendered as words. The text itself is untouched.

    Raises:
        InstanceUnreadable: it cannot be read as an SR; the message says why.
    """
    try:
        _check_size(path)
        ds = dcmread(path)
        template = _first(ds, "ContentTemplateSequence").get("TemplateIdentifier", "")
        if str(template) in MEASUREMENT_TEMPLATES:
            return None
        items = list(_items(ds))
        if not any(is_text for _, _, is_text in items):
            return None
        return IncomingReport(
            source=ReportSource.SR,
            source_id=str(ds.SOPInstanceUID),
            message_id=str(ds.SOPInstanceUID),
            predecessor_id=_predecessor(ds),
            parts=_parts(items),
            status=_status(ds),
            issued_at=_moment(ds),
            is_addendum=False,
            **_about(ds),
        )
    except InstanceUnreadable:
        raise
    except Exception as exc:  # peers write anything, and pydicom meets it as any kind of error
        if isinstance(exc, OSError) and is_disk_fault(exc):
            raise disk_fault(exc, "an SR cannot be read") from exc
        raise InstanceUnreadable(f"not readable as an SR ({type(exc).__name__})") from exc


def _check_size(path: Path) -> None:
    """Before anything is read: a deflated data set may be a thousand times its file."""
    size = path.stat().st_size
    meta = read_file_meta_info(path)
    if size <= LARGEST and meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        # Preamble, prefix, group length (12 bytes) and the group: PS3.10 7.1.
        start = 128 + 4 + 12 + int(meta.FileMetaInformationGroupLength)
        with path.open("rb") as file:
            file.seek(start)
            size = len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), LARGEST + 1))
    if size > LARGEST:
        raise InstanceUnreadable("an SR of more than 4 MB is not read as a report")


def _items(ds: Dataset) -> Iterator[tuple[str, str, bool]]:
    """(part, words, whether a person wrote them) of every content item, in order."""
    count = 0
    stack: list[tuple[Dataset, str, int]] = [(ds, "", 0)]
    while stack:
        item, heading, depth = stack.pop()
        count += 1
        if count > MOST_ITEMS or depth > DEEPEST:
            raise InstanceUnreadable("its content tree is larger than a report's can be")
        concept = _first(item, "ConceptNameCodeSequence")
        name = _meaning(concept)
        kind = str(item.get("ValueType", ""))
        if kind == "CONTAINER" and depth > 0 and name:
            section = SECTIONS.get(str(concept.get("CodeValue", "")), name.lower())
            heading = f"{heading} / {section}" if heading else section
        words = _words(item, kind, name)
        if words:
            own = SECTIONS.get(str(concept.get("CodeValue", "")), name.lower())
            yield heading or (own if kind == "TEXT" else "") or "report", words, kind == "TEXT"
        children = item.get("ContentSequence") or []
        # What qualifies an item (language, observer, ...) is no part of the text.
        asserted = [
            child
            for child in children
            if child.get("RelationshipType", "CONTAINS") in {"CONTAINS", "HAS PROPERTIES"}
        ]
        stack.extend((child, heading, depth + 1) for child in reversed(asserted))


def _words(item: Dataset, kind: str, name: str) -> str:
    match kind:
        case "TEXT":
            return str(item.get("TextValue", ""))
        case "CODE":
            meaning = _meaning(_first(item, "ConceptCodeSequence"))
            return f"{name}: {meaning}." if meaning else ""
        case "NUM":
            measured = _first(item, "MeasuredValueSequence")
            unit = _first(measured, "MeasurementUnitsCodeSequence").get("CodeValue", "")
            value = measured.get("NumericValue")
            return f"{name}: {value} {unit}." if value is not None else ""
    return ""


def _parts(items: list[tuple[str, str, bool]]) -> tuple[ReportPart, ...]:
    """One part for each stretch under the same heading."""
    joined: list[tuple[str, list[str]]] = []
    for heading, words, _ in items:
        if not joined or joined[-1][0] != heading:
            joined.append((heading, []))
        joined[-1][1].append(words)
    return tuple(ReportPart(name=name, text="\n".join(words)) for name, words in joined)


def _status(ds: Dataset) -> ReportStatus:
    if "PredecessorDocumentsSequence" in ds:
        return ReportStatus.CORRECTED
    is_final = ds.get("CompletionFlag") == "COMPLETE" and ds.get("VerificationFlag") == "VERIFIED"
    return ReportStatus.FINAL if is_final else ReportStatus.PRELIMINARY


def _predecessor(ds: Dataset) -> str:
    series = _first(_first(ds, "PredecessorDocumentsSequence"), "ReferencedSeriesSequence")
    return str(_first(series, "ReferencedSOPSequence").get("ReferencedSOPInstanceUID", ""))


def _about(ds: Dataset) -> Mapping[str, str]:
    request = _first(ds, "ReferencedRequestSequence")
    evidence = _first(ds, "CurrentRequestedProcedureEvidenceSequence")
    accession = request.get("AccessionNumber") or ds.get("AccessionNumber")
    return {
        "patient_id": str(ds.get("PatientID") or ""),
        "patient_birth_date": str(ds.get("PatientBirthDate") or ""),
        "patient_sex": str(ds.get("PatientSex") or ""),
        "accession_number": str(accession or ""),
        "study_uid": str(evidence.get("StudyInstanceUID") or ds.get("StudyInstanceUID") or ""),
        "study_date": str(ds.get("StudyDate") or ""),
        "referring_unit": str(ds.get("RequestingService") or ""),
    }


def _moment(ds: Dataset) -> datetime | None:
    """ContentDate and ContentTime, in the zone the object names, else UTC."""
    day, clock = str(ds.get("ContentDate") or ""), str(ds.get("ContentTime") or "000000")
    try:
        moment = datetime.strptime(f"{day}{clock[:6]:0<6}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    offset = str(ds.get("TimezoneOffsetFromUTC") or "")
    if len(offset) == 5 and offset[1:].isdigit():
        ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
        return moment.replace(tzinfo=timezone(-ahead if offset[0] == "-" else ahead))
    return moment


def _first(ds: Dataset, keyword: str) -> Dataset:
    sequence = ds.get(keyword)
    return sequence[0] if sequence else Dataset()


def _meaning(code: Dataset) -> str:
    return str(code.get("CodeMeaning", ""))
