"""Reports as they come in, before anyone has read them."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256

from dicomnode.domain.reports import ReportPart

ADDENDUM = "addendum"
"""Name of the parts that amend a report."""


class ReportSource(Enum):
    """The way a report came."""

    SR = "sr"
    HL7 = "hl7"
    FHIR = "fhir"
    BULK = "bulk"


class ReportStatus(Enum):
    """How far its author has got with it."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    CANCELLED = "cancelled"
    """Withdrawn or entered in error: kept, but neither mined nor counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingReport:
    """One version of one report, its text untouched."""

    source: ReportSource
    source_id: str = ""
    """What the source calls the report in all its versions: filler order number, FHIR id,
    SOPInstanceUID, row id. Empty: `name` makes one of the content."""
    message_id: str = ""
    """What the source calls this one message; the same content under it again is a duplicate, even
    where a later version has come."""
    predecessor_id: str = ""
    """`source_id` of an earlier report that this one replaces, where versions have own ids."""
    parts: tuple[ReportPart, ...]
    status: ReportStatus = ReportStatus.FINAL
    issued_at: datetime | None = None
    """When the source says that this version was made; timezone-aware."""
    patient_id: str = ""
    patient_birth_date: str = ""
    """YYYYMMDD."""
    patient_sex: str = ""
    """F, M or O."""
    accession_number: str = ""
    study_uid: str = ""
    """StudyInstanceUID, where the source states one."""
    study_date: str = ""
    """YYYYMMDD."""
    modality: str = ""
    referring_unit: str = ""
    is_addendum: bool = False
    """True: it goes behind the text that is current instead of replacing it."""
    remarks: str = ""
    """What is odd about it and how it was taken; quotes nothing of it."""

    @property
    def content_sha256(self) -> str:
        """Digest over the names and texts of the parts and the status, hex."""
        digest = sha256(self.status.value.encode())
        for part in self.parts:
            for piece in (part.name, part.text):
                encoded = piece.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.hexdigest()

    @property
    def name(self) -> str:
        """`source_id`, or what stands for it: the digest of content, patient and accession."""
        if self.source_id:
            return self.source_id
        about = "\0".join((self.patient_id, self.accession_number, self.study_uid))
        return "sha256:" + sha256(f"{self.content_sha256}\0{about}".encode()).hexdigest()


class Kept(Enum):
    """What became of a report that came in."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """The same words about the same patient and study again: nothing was added."""
    SUPERSEDES = "supersedes"
    """A later version: the earlier one is kept, but no longer current."""
    OUTDATED = "outdated"
    """Older than the version that is there: kept, but not current."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReport:
    """A report that is safe in the index."""

    report_id: int
    """Row of the version that holds these words."""
    outcome: Kept
    remarks: str = ""
    """What was odd about it; quotes nothing of it."""


class MatchedBy(Enum):
    """What tied a report to a study."""

    STUDY_UID = "study-uid"
    ACCESSION = "accession"
    PATIENT_AND_DATE = "patient-and-date"
