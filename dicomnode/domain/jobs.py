"""One run of one algorithm on one closed revision."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from dicomnode.domain.identifiers import JobId, SeriesUid, StudyUid, derived_uid
from dicomnode.domain.matching import Match, Priority
from dicomnode.domain.results import EncodedObject


class JobState(Enum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    """The algorithm or the series said no, with a reason; nothing is wrong with the node."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    DISMISSED = "dismissed"

    @property
    def is_final(self) -> bool:
        """True if nothing more happens without a person."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """Results of the earlier revision that this job's results supersede."""

    job_id: JobId
    objects: tuple[EncodedObject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be run, by which rule version, on what, for whom."""

    id: JobId
    revision_id: int
    study_uid: StudyUid
    revision: int
    rule_name: str
    rule_set_digest: str
    algorithm: str
    inputs: Mapping[str, SeriesUid]
    priority: Priority
    destinations: tuple[str, ...]
    state: JobState
    attempt: int
    run: int
    created_at: datetime
    """Also the content date and time of its results, so that a rerun yields the same bytes."""
    predecessor: Predecessor | None = None


def job_id(study_uid: StudyUid, match: Match, input_digest: str) -> JobId:
    """The job's identity: the same rule and algorithm on the same images is the same job.

    So matching twice makes one job, and a late image in another series, or our own results coming
    back, do not run it again.
    """
    inputs = [f"{name}={series}" for name, series in sorted(match.inputs.items())]
    parts = ("job", study_uid, match.rule_name, match.algorithm, *inputs, input_digest)
    return JobId(derived_uid(*parts).removeprefix("2.25."))
