"""What people say of results, and what they send back in their place."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from dicomnode.domain.identifiers import InstanceUid, JobId

WHOLE_RESULT = 0
"""Stands in the place of a finding's number: the judgement is about all of a job's results."""


class Verdict(Enum):
    """What a person says of a result or of one finding."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CORRECTED = "corrected"
    """Something is to stand in its place: the remark says what, or an object that came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One person's word on one result or finding. A later one supersedes it, and it is kept."""

    job_id: JobId
    finding: int
    """Number of the finding within the job, or WHOLE_RESULT."""
    verdict: Verdict
    by: str
    """Name of the account, or the AE title that sent a corrected object."""
    at: datetime
    remark: str = ""


class CorrectionState(Enum):
    """Whether an SEG or SR that came in is a correction of a result of ours."""

    WAITING = "waiting"
    KEPT = "kept"
    NONE = "none"
    """It is about something else."""
    UNREADABLE = "unreadable"


class Sign(Enum):
    """By what an object is known to correct a result; the strongest that fits counts."""

    PREDECESSOR = "predecessor"
    """It names our object as its predecessor."""
    REFERENCE = "reference"
    """It refers to our object."""
    TRACKING = "tracking-uid"
    """It carries a tracking UID of a finding of ours."""
    SEGMENT = "same-segment"
    """A person drew a segment of the same label on the same images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentComparison:
    """One segment beside ours of the same structure."""

    name: str
    """As in our SEG; theirs where we have none."""
    ours_voxels: int
    """0: it is in theirs alone."""
    theirs_voxels: int
    ours_ml: float | None
    """None on radiographs, which have no volume."""
    theirs_ml: float | None
    dice: float
    """2 |ours and theirs| / (|ours| + |theirs|); 1 is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """An object that came back in the place of a result of ours."""

    sop_instance_uid: InstanceUid
    job_id: JobId
    kind: str
    """SEG or SR."""
    sign: Sign
    sent_by: str
    """AE title."""
    made_with: str
    """Manufacturer and model, as stated."""
    segments: tuple[SegmentComparison, ...] = ()
    note: str = ""
    """Why segments could not be compared."""

    @property
    def changes_something(self) -> bool:
        """False if every segment is voxel for voxel the one we made."""
        return not self.segments or any(one.dice < 1.0 for one in self.segments)
