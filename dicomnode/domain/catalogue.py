"""What the node holds, as searches ask for it and as they find it (PS3.4 C.2.2.2, PS3.18 10.6)."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.instances import HeaderValues


class Level(Enum):
    """What is searched for."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """Equal to one of these (single value and list of UID matching)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """Fits a pattern with `*` and `?` (wildcard matching)."""

    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """From `first` to `last`, both included; either may be empty (range matching)."""

    first: str
    last: str


Condition = OneOf | Like | Between


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One question to the catalogue."""

    level: Level
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """DICOM keyword -> what its value must be; see `SEARCHABLE`."""
    limit: int
    offset: int = 0


STUDY_KEYS = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    *("ModalitiesInStudy", "ReferringPhysicianName", "PatientName", "PatientID"),
    *("PatientBirthDate", "PatientSex", "StudyDescription"),
)
SERIES_KEYS = ("SeriesInstanceUID", "Modality", "SeriesNumber")
INSTANCE_KEYS = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")
SEARCHABLE: Mapping[Level, tuple[str, ...]] = {
    Level.STUDY: STUDY_KEYS,
    Level.SERIES: (*STUDY_KEYS, *SERIES_KEYS),
    Level.INSTANCE: (*STUDY_KEYS, *SERIES_KEYS, *INSTANCE_KEYS),
}
"""Keywords a search of each level may name: its own and those of the levels above."""
PERSON_NAMES = frozenset({"PatientName", "ReferringPhysicianName"})
NUMBERS = frozenset({"SeriesNumber", "InstanceNumber"})


def search_key(text: str) -> str:
    """A person's name as it is compared: without difference of case or width of letters."""
    return unicodedata.normalize("NFKC", text).casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """A study, with what the node itself made counted in."""

    study_uid: StudyUid
    header: HeaderValues
    modalities: tuple[str, ...]
    series: int
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSeries:
    """A series; its header is that of its first image."""

    study_uid: StudyUid
    series_uid: SeriesUid
    header: HeaderValues
    modality: str
    number: int | None
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInstance:
    """An instance; numbers are None where the header has none."""

    study_uid: StudyUid
    series_uid: SeriesUid
    sop_instance_uid: InstanceUid
    sop_class_uid: str
    number: int | None
    frames: int | None
    rows: int | None
    columns: int | None
    bits_allocated: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInstance:
    """Where an instance lies: received, or one of the node's own results."""

    study_uid: StudyUid
    series_uid: SeriesUid
    sop_instance_uid: InstanceUid
    sop_class_uid: str
    path: Path
    """Absolute."""
    sha256: str
    """Changes when the bytes do."""
