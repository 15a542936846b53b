"""The fixed list of what is written to the event log. Facts never name a patient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from dicomnode.domain.identifiers import JobId, StudyUid

FactValue = str | int | float | bool | None


class EventName(Enum):
    """What can happen."""

    NODE_STARTED = "node.started"
    NODE_STOPPED = "node.stopped"
    ASSOCIATION_OPENED = "association.opened"
    ASSOCIATION_REJECTED = "association.rejected"
    ASSOCIATION_CLOSED = "association.closed"
    CERTIFICATE_REFUSED = "certificate.refused"
    CONTEXT_REFUSED = "context.refused"
    INSTANCE_REFUSED = "instance.refused"
    INSTANCE_DUPLICATE = "instance.duplicate"
    INSTANCE_QUARANTINED = "instance.quarantined"
    DISK_FAULT = "disk.fault"
    SPOOL_SWEPT = "spool.swept"
    COMMITMENT_ASKED = "commitment.asked"
    COMMITMENT_REPORTED = "commitment.reported"
    COMMITMENT_RETRYING = "commitment.retrying"
    COMMITMENT_GIVEN_UP = "commitment.given-up"
    COUNT_ASKED = "study.count-asked"
    PATIENTS_DIFFER = "study.patients-differ"
    """A new series states another PatientID than its study: what is compared over time leaves the
    study out."""
    STUDY_CLOSED = "study.closed"
    RULES_LOADED = "rules.loaded"
    RULES_REFUSED = "rules.refused"
    RULES_ACTIVATED = "rules.activated"
    CALIBRATION_CHANGED = "calibration.changed"
    STUDY_MATCHED = "study.matched"
    STUDY_FLAGGED = "study.flagged"
    NOTICE_ACCEPTED = "notice.accepted"
    NOTICE_REFUSED = "notice.refused"
    MODEL_ADDED = "model.added"
    MODEL_ACTIVATED = "model.activated"
    MODEL_DEACTIVATED = "model.deactivated"
    MODEL_REMOVED = "model.removed"
    JOB_QUEUED = "job.queued"
    JOB_STARTED = "job.started"
    JOB_RETRYING = "job.retrying"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_REFUSED = "job.refused"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    JOB_DISMISSED = "job.dismissed"
    JOB_RERUN = "job.rerun"
    JOB_TAKEN_OVER = "job.taken-over"
    RESULT_ENCODED = "result.encoded"
    RESULT_SENT = "result.sent"
    RESULT_REFUSED = "result.refused"
    DELIVERY_RETRYING = "delivery.retrying"
    DELIVERY_FELL_BACK = "delivery.fell-back"
    DELIVERY_GIVEN_UP = "delivery.given-up"
    RESULT_CONFIRMED = "result.confirmed"
    RESULT_UNCONFIRMED = "result.unconfirmed"
    RESULT_RESENT = "result.resent"
    RESULT_JUDGED = "result.judged"
    RESULT_CORRECTED = "result.corrected"
    RESULT_DISMISSED = "result.dismissed"
    IMAGES_REMOVED = "study.images-removed"
    STUDY_PINNED = "study.pinned"
    STUDY_UNPINNED = "study.unpinned"
    QUARANTINE_DISMISSED = "quarantine.dismissed"
    QUARANTINE_REMOVED = "quarantine.removed"
    QUARANTINE_PINNED = "quarantine.pinned"
    QUARANTINE_UNPINNED = "quarantine.unpinned"
    QUEUE_PAUSED = "queue.paused"
    QUEUE_RESUMED = "queue.resumed"
    WORKER_LOST = "worker.lost"
    WORKER_BACK = "worker.back"
    REPORT_MATCHED = "report.matched"
    REPORT_UNTIED = "report.untied"
    REPORT_UNREADABLE = "report.unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the log; the store adds the moment."""

    name: EventName
    study_uid: StudyUid | None = None
    job_id: JobId | None = None
    association_id: str | None = None
    facts: Mapping[str, FactValue] = field(default_factory=dict)
