"""Results as DICOM objects, and what became of them at each destination."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from dicomnode.domain.files import RESULTS
from dicomnode.domain.identifiers import InstanceUid, JobId, SeriesUid, StudyUid

OUTCOME_FILE = "findings.json"
"""In a job's folder: what the run found; written last, so that all is there once it is."""
PREVIEW_FILE = "overlay.png"
"""In a job's folder: the picture of its findings."""


def result_folder(data_dir: Path, job_id: JobId) -> Path:
    """Where a job's results lie; job ids are ours, so they may name a folder."""
    return data_dir / RESULTS / job_id[:2] / job_id


class ResultKind(Enum):
    """Which form a result takes. Values have four characters at most, as the index keeps them."""

    SEG = "SEG"
    LABELMAP = "SEGL"
    """A SEG as one label map (Supplement 243) instead of a bit plane for each segment."""
    SR = "SR"
    LABELMAP_REPORT = "SRL"
    """The same report, referring to the LABELMAP instead of the SEG."""
    KOS = "KO"
    SECONDARY_CAPTURE = "SC"
    GSPS = "PR"
    OTHER = "OT"
    """Not made here, e.g. images that `dicomnode send` passes on."""

    @property
    def twin(self) -> "ResultKind":
        """What goes instead of a LABELMAP and its report; any other kind itself."""
        return _TWINS.get(self, self)

    @property
    def shown(self) -> str:
        """As it stands in series descriptions: no destination gets both twins."""
        return self.twin.value


_TWINS = {ResultKind.LABELMAP: ResultKind.SEG, ResultKind.LABELMAP_REPORT: ResultKind.SR}

USUAL_KINDS = frozenset({ResultKind.SEG, ResultKind.SR})
"""What every job makes, whoever wants it: the node's own record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedObject:
    """A DICOM file of ours, written, flushed and checked against the mask it came from."""

    kind: ResultKind
    sop_instance_uid: InstanceUid
    sop_class_uid: str
    study_uid: StudyUid
    series_uid: SeriesUid
    path: Path
    sha256: str
    """Of the whole file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What one destination gets of a job's objects."""

    destination: str
    objects: tuple[EncodedObject, ...]
    fell_back_because: str = ""
    """Why the SEG goes where a LABELMAP was wanted; empty where what was wanted goes."""


class DeliveryState(Enum):
    """Where one object stands with one destination."""

    WAITING = "waiting"
    """Not yet sent, or to be tried again at `next_try_at`."""
    SENT_UNCONFIRMED = "sent-unconfirmed"
    """The peer answered success or warning; it has not been proven that it keeps the object."""
    CONFIRMED = "confirmed"
    """Storage commitment or read-back proved it."""
    REFUSED = "refused"
    """Failure status or no presentation context; trying again would not help."""
    GIVEN_UP = "given-up"
    """Retryable faults beyond the limit; a person can resend."""
    DISMISSED = "dismissed"
    """Not to be sent: a person said so, or another form takes its place; the reason says which."""


class ConfirmationMethod(Enum):
    """How a destination proved that it keeps an object."""

    COMMITMENT = "storage-commitment"
    READ_BACK = "c-find"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The peer's answer to one C-STORE: success (0x0000) or warning (0xBxxx); all else raises."""

    sop_instance_uid: InstanceUid
    destination: str
    status: int
    comment: str
    """ErrorComment (0000,0902) of the answer, or empty."""
    at: datetime

    @property
    def is_warning(self) -> bool:
        """True if the peer kept the object but changed or doubted it (PS3.4 B.2.3: 0xBxxx)."""
        return self.status != 0
