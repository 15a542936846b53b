"""Studies as they grow and close."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.instances import HeaderValues


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """One series as rules see it."""

    series_uid: SeriesUid
    study_uid: StudyUid
    modality: str
    instance_count: int
    values: HeaderValues
    """As the first indexed instance of the series has them, study-level attributes included.

    Of ViewPosition every value that occurs in the series.
    """


class ClosingReason(Enum):
    """Which evidence closed a study or series."""

    QUIET = "quiet"
    """Nothing arrived for the quiet period and no association of it is open."""
    COMPLETE = "complete"
    """Associations were released and every series the rules require is there."""
    COUNT_AGREED = "count-agreed"
    """The sender's own count (C-FIND NumberOfStudyRelatedInstances) equals ours."""
    HARD_LIMIT = "hard-limit"
    """Open longer than allowed; taken as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was known about completeness at one moment. Stored with the revision it closed."""

    received_instances: int
    new_instances: int
    """Received since the last revision."""
    first_new_at: datetime
    last_new_at: datetime
    open_associations: int
    """Associations still open that brought instances of this study."""
    required_series_present: bool | None
    """None where no enabled rule states what it requires."""
    expected_instances: int | None
    """The sender's count, None where it is not asked or did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySnapshot:
    """A closed revision of a study, or of one series of it. Never grows.

    A late image opens the next revision, whose results supersede this one's.
    """

    study_uid: StudyUid
    revision: int
    """1, 2, ... counted per (study, series_uid)."""
    series_uid: SeriesUid | None
    """None: the whole study. Else only this series was closed, for rules with scope "series"."""
    reason: ClosingReason
    evidence: Evidence
    closed_at: datetime
    calling_aes: frozenset[str]
    series: Mapping[SeriesUid, SeriesFacts]
