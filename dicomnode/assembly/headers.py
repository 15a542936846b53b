"""Headers of instances on disk, read without their pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal

from dicomnode.assembly.elements import (
    FIRST_AFTER_FILE_META,
    ITEM,
    MOST_ELEMENTS,
    PIXEL_DATA,
    UNDEFINED,
    ElementReader,
    FileSource,
    InflatedSource,
    Malformed,
    Source,
    Truncated,
)
from dicomnode.assembly.values import ValueReader
from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import InstanceUnreadable, InvalidUid
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid, checked_uid
from dicomnode.domain.instances import InstanceHeader

_PREAMBLE = 132
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_IMPLICIT = frozenset({"1.2.840.10008.1.2", "1.2.840.113619.5.2"})  # the second is GE's
_DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)

# Said once for all frames in the shared functional groups of enhanced images (PS3.3 C.7.6.16).
_SHARED_KEYWORDS = frozenset(
    {"ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"}
)

# Modules Patient, General Study and Patient Study (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), and the
# imaging service request, as far as they are text or numbers.
STUDY_KEYWORDS = frozenset(
    {
        *("PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "PatientBirthDate"),
        *("PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientNames", "EthnicGroup"),
        *("PatientComments", "PatientSpeciesDescription", "PatientBreedDescription"),
        *("ResponsiblePerson", "ResponsibleOrganization", "PatientIdentityRemoved"),
        *("DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
        *("AccessionNumber", "StudyDescription", "ReferringPhysicianName", "PhysiciansOfRecord"),
        *("ConsultingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingService"),
        *("AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight"),
        *("PatientBodyMassIndex", "MedicalAlerts", "Allergies", "SmokingStatus"),
        *("PregnancyStatus", "LastMenstrualDate", "PatientState", "Occupation"),
        *("AdditionalPatientHistory", "AdmissionID", "ServiceEpisodeID", "PatientSexNeutered"),
        *("ServiceEpisodeDescription", "ReasonForVisit", "RequestingPhysician", "StudyStatusID"),
        *("RequestedProcedureDescription", "StudyPriorityID", "StudyComments", "ReasonForStudy"),
        *("CurrentPatientLocation", "PatientInstitutionResidence"),
    }
)


def read_header(path: Path) -> InstanceHeader:
    """The header of the PS3.10 file at `path`; pixel data are passed over, never read.

    Reads any transfer syntax and any encoding fault that leaves the three UIDs legible. Values
    over 1 kB, binary ones, private ones and sequences are left out, save what enhanced images say
    in their shared functional groups (spacing, thickness, orientation). Memory is bounded
    whatever the file's size or the lengths it states.

    Raises:
        InstanceUnreadable: with what is wrong and never a value of the header.
        DiskFault: the disk does not give the file for now.
    """
    try:
        with path.open("rb") as file:
            values = _values(file, path.stat().st_size)
    except OSError as exc:
        if is_disk_fault(exc):
            raise disk_fault(exc, "a received file cannot be read") from exc
        raise InstanceUnreadable(f"the file cannot be opened: {exc.strerror}") from exc
    except Truncated as exc:
        raise InstanceUnreadable(
            "the file ends before its data set does; have the image sent again"
        ) from exc
    except Malformed as exc:
        raise InstanceUnreadable(f"the data set cannot be read: {exc}") from exc
    return InstanceHeader(
        sop_instance_uid=InstanceUid(_uid(values, "SOPInstanceUID", "(0008,0018)")),
        study_uid=StudyUid(_uid(values, "StudyInstanceUID", "(0020,000D)")),
        series_uid=SeriesUid(_uid(values, "SeriesInstanceUID", "(0020,000E)")),
        modality=next(iter(values.get("Modality", ())), ""),
        frames=_frames(values),
        study_values={key: one for key, one in values.items() if key in STUDY_KEYWORDS},
        series_values={key: one for key, one in values.items() if key not in STUDY_KEYWORDS},
    )


def _values(file: BinaryIO, size: int) -> dict[str, tuple[str, ...]]:
    start = file.read(_PREAMBLE)
    if len(start) < _PREAMBLE:
        raise InstanceUnreadable(f"not a DICOM file: it has only {size} bytes")
    if start[128:] != b"DICM":
        raise InstanceUnreadable("not a DICOM file: no DICM mark at byte 128 (PS3.10 7.1)")
    syntax = _transfer_syntax(file, size)
    deflated, little_endian = syntax in _DEFLATED, syntax != _BIG_ENDIAN
    source: Source = InflatedSource(file) if deflated else FileSource(file, size)
    reader = ElementReader(source, implicit=syntax in _IMPLICIT, little_endian=little_endian)
    texts = ValueReader(little_endian=little_endian)
    values: dict[str, tuple[str, ...]] = {}
    for element in reader:
        if (found := texts.read(element)) is None:
            continue
        keyword, one = found
        if not element.shared:
            values[keyword] = one
        elif keyword in _SHARED_KEYWORDS:
            values.setdefault(keyword, one)
    stop = reader.stopped_at
    if stop is not None and stop.tag in PIXEL_DATA and not deflated:
        _check_pixels_are_whole(source, stop.length, little_endian=little_endian)
    return values


def _transfer_syntax(file: BinaryIO, size: int) -> str:
    """TransferSyntaxUID (0002,0010); leaves `file` at the data set."""
    reader = ElementReader(
        FileSource(file, size), implicit=False, little_endian=True, before=FIRST_AFTER_FILE_META
    )
    syntax = ""
    for element in reader:
        if element.tag == 0x00020010:
            syntax = element.value.decode("ascii", errors="replace").strip(" \0")
    if reader.stopped_at is None:
        raise InstanceUnreadable("the file has no data set after its file meta information")
    file.seek(reader.stopped_at.start)
    if not syntax:
        raise InstanceUnreadable("TransferSyntaxUID (0002,0010) is missing")
    return syntax


def _check_pixels_are_whole(source: Source, length: int, *, little_endian: bool) -> None:
    """Pass over the pixel data by the lengths it states.

    Raises:
        Truncated: the file is shorter than that.
    """
    if length != UNDEFINED:
        source.skip(length)
        return
    order: Literal["little", "big"] = "little" if little_endian else "big"
    for _ in range(MOST_ELEMENTS):
        head = source.read(8)
        group = int.from_bytes(head[:2], order)
        element = int.from_bytes(head[2:4], order)
        if not head or group << 16 | element != ITEM:
            return
        source.skip(int.from_bytes(head[4:], order))


def _uid(values: Mapping[str, tuple[str, ...]], keyword: str, tag: str) -> str:
    found = values.get(keyword, ())
    if not found:
        raise InstanceUnreadable(f"{keyword} {tag} is missing")
    try:
        return checked_uid(found[0])
    except InvalidUid as exc:
        # The wrong value may be anything, a patient's name too: it is not repeated.
        raise InstanceUnreadable(f"{keyword} {tag} is not a UID") from exc


def _frames(values: Mapping[str, tuple[str, ...]]) -> int:
    """NumberOfFrames, 1 where it is absent or not a positive number."""
    text = next(iter(values.get("NumberOfFrames", ())), "")
    return max(1, int(text)) if text.isdecimal() and len(text) < 10 else 1
