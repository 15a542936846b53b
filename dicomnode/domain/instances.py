"""What a peer sent: associations, instances on disk, and what their headers say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid

HeaderValues = Mapping[str, tuple[str, ...]]
"""DICOM keyword -> its values as text, in order. Absent: no key; empty: an empty tuple."""


class Service(Enum):
    """How instances came."""

    STORE = "C-STORE"
    STOW = "STOW"
    """One request to the node's DICOMweb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """One association a peer made with us, or one STOW request, which is treated as one."""

    id: str
    """Ours, random hex; names the folder its instances are kept in."""
    calling_ae: str
    """Of a STOW request: the user's name."""
    called_ae: str
    address: str
    opened_at: datetime
    service: Service = Service.STORE


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """One SOP instance, safe on disk.

    Exists only once the bytes are flushed and the row is committed: holding one is the proof that
    C-STORE may be answered with success (PS3.4 B.2.3).
    """

    sop_instance_uid: InstanceUid
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    """Absolute; a PS3.10 file whose data set is byte for byte what the peer sent."""
    size_bytes: int
    sha256: str
    """Hex digest of the data set (without preamble and file meta information)."""
    association_id: str
    received_at: datetime
    """When the last byte was flushed; timezone-aware."""


class Landing(Enum):
    """What became of an instance that was taken."""

    KEPT = "kept"
    DUPLICATE = "duplicate"
    """Same UID, same bytes: nothing to do."""
    CONFLICT = "conflict"
    """Same UID, other bytes: the first is kept, this one is in quarantine."""


class QuarantineKind(Enum):
    """Why an object is on disk but not in a study."""

    CONFLICT = "conflict"
    UNREADABLE = "unreadable"
    MISPLACED = "misplaced"
    """Its SeriesInstanceUID already belongs to another study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeader:
    """What assembly needs to know of one instance's header."""

    sop_instance_uid: InstanceUid
    study_uid: StudyUid
    series_uid: SeriesUid
    modality: str
    frames: int
    study_values: HeaderValues
    """Patient- and study-level attributes."""
    series_values: HeaderValues
    """Every other top-level attribute with a short text or number, as this instance has it."""
