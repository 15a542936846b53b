"""Tables of what was made of it: revisions, jobs, findings, results, deliveries, events."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, RowId, Uid


class RuleSetRow(Base):
    """One version of the rule file that was in force."""

    __tablename__ = "rule_set"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the text, hex."""
    text: Mapped[str] = mapped_column(Text)
    """The file, word for word."""
    first_used_at: Mapped[datetime]
    """When it was first used."""


class RevisionRow(Base):
    """A study, or one series of it, closed on stated evidence."""

    __tablename__ = "revision"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"))
    """The study."""
    series_uid: Mapped[str] = mapped_column(Uid, default="")
    """Empty: the whole study."""
    number: Mapped[int]
    """1, 2, ... for each study, and for each series closed by itself."""
    reason: Mapped[str] = mapped_column(String(16))
    """quiet, complete, count-agreed or hard-limit."""
    evidence: Mapped[dict[str, Any]]
    """What was known about completeness at that moment."""
    calling_aes: Mapped[list[Any]]
    """AE titles that sent the study."""
    closed_at: Mapped[datetime]
    """When it was closed."""
    instance_count: Mapped[int]
    """Instances it holds."""
    matched_at: Mapped[datetime | None]
    """When rules were tried; null: not yet."""
    rule_set_digest: Mapped[str | None] = mapped_column(ForeignKey("rule_set.digest"))
    """The rules that were tried."""
    verdicts: Mapped[list[Any] | None]
    """Why each rule did or did not match, per condition."""

    __table_args__ = (
        UniqueConstraint("study_uid", "series_uid", "number"),
        Index("ix_revision_unmatched", "matched_at"),
    )


class JobRow(Base):
    """One run of one algorithm on one revision, by one version of one rule."""

    __tablename__ = "job"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Derived from rule, algorithm and input images, so that matching twice makes one job."""
    revision_id: Mapped[int] = mapped_column(ForeignKey("revision.id"), index=True)
    """The revision it reads."""
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"))
    """The study."""
    rule_name: Mapped[str] = mapped_column(Text)
    """The rule that called for it."""
    rule_set_digest: Mapped[str] = mapped_column(ForeignKey("rule_set.digest"))
    """The version of the rules."""
    algorithm: Mapped[str] = mapped_column(Text)
    """Name of the algorithm."""
    algorithm_version: Mapped[str | None] = mapped_column(Text)
    """As run."""
    model_digest: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 over the model files as run, hex."""
    inputs: Mapped[dict[str, Any]]
    """Input name -> SeriesInstanceUID."""
    input_digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 over the digests of the instances that went in."""
    priority: Mapped[int]
    """1 stat, 10 high, 100 routine, 1000 low."""
    turn: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Place among jobs of its priority; rules take turns, whatever number of jobs each has."""
    destinations: Mapped[list[Any]]
    """Names of the destinations its results go to."""
    state: Mapped[str] = mapped_column(String(12))
    """queued, running, succeeded, refused, failed, cancelled, dismissed."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it was refused, failed or is tried again."""
    error: Mapped[str] = mapped_column(String(40), default="")
    """Name of the error class."""
    attempt: Mapped[int] = mapped_column(default=1)
    """Try of this run, from 1."""
    run: Mapped[int] = mapped_column(default=1)
    """Counts reruns asked for by a person."""
    predecessor_id: Mapped[str | None] = mapped_column(String(64))
    """The job of the earlier revision whose results these supersede."""
    deadline_at: Mapped[datetime | None]
    """Past this moment a running job is in trouble."""
    created_at: Mapped[datetime]
    """When it was made; also the content date of its results."""
    started_at: Mapped[datetime | None]
    """When its last try began."""
    finished_at: Mapped[datetime | None]
    """When it ended."""
    worker: Mapped[str | None] = mapped_column(String(160))
    """Name of the worker that took its last try."""
    device: Mapped[str | None] = mapped_column(Text)
    """What it ran on, e.g. `cuda:0`."""
    seconds: Mapped[dict[str, Any] | None]
    """Stage -> seconds."""
    voxels: Mapped[int | None] = mapped_column(BigInteger)
    """Of all its inputs."""
    peak_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """What the run took of its device's memory at most; of the host's where that is the CPU."""
    waits_for: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """Why a worker that has it in hand has not started it yet; empty otherwise."""
    warnings: Mapped[list[Any] | None]
    """What a reader of the results should know."""

    __table_args__ = (
        Index("ix_job_state", "state", "created_at"),
        Index("ix_job_study", "study_uid", "state", "algorithm", "finished_at"),
        Index("ix_job_finished", "state", "finished_at", "id"),
    )


class WorkerRow(Base):
    """A process that runs models."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(String(160), primary_key=True)
    """Machine and name, the same after a restart."""
    devices: Mapped[list[Any]]
    """What it runs models on, e.g. `cuda:0`."""
    is_part_of_node: Mapped[bool]
    """True: the node's own; false: started by `dicomnode work`."""
    started_at: Mapped[datetime]
    """When it started last."""
    seen_at: Mapped[datetime]
    """When it was last heard of; some seconds ago if it lives."""
    left_at: Mapped[datetime | None]
    """When it ended in good order; null while it runs, or if it was lost."""
    drain_asked_at: Mapped[datetime | None]
    """When a person asked it to finish what it has in hand and end."""
    epoch: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Counts its starts and losses; what it writes under an earlier number is refused."""
    lost_at: Mapped[datetime | None]
    """When its work was given to others since it was silent; null once it is back."""


class QueuePauseRow(Base):
    """A queue that a person has halted; without a row it goes on."""

    __tablename__ = "queue_pause"

    queue: Mapped[str] = mapped_column(String(16), primary_key=True)
    """inference."""
    since: Mapped[datetime]
    """Since when."""
    by: Mapped[str] = mapped_column(String(64))
    """Name of the account, or of the user of the system."""
    reason: Mapped[str] = mapped_column(Text)
    """In the person's words."""


class FindingRow(Base):
    """One finding of a job."""

    __tablename__ = "finding"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    """The job."""
    number: Mapped[int]
    """1, 2, ... within the job."""
    kind: Mapped[str] = mapped_column(String(16))
    """segment, lesion, measurement, class or caption."""
    name: Mapped[str] = mapped_column(Text)
    """As in the SR and as segment label."""
    code_value: Mapped[str | None] = mapped_column(String(64))
    """Of the coded finding."""
    code_scheme: Mapped[str | None] = mapped_column(String(16))
    """Coding scheme, e.g. `SCT`."""
    code_meaning: Mapped[str | None] = mapped_column(Text)
    """In words."""
    site_meaning: Mapped[str | None] = mapped_column(Text)
    """Anatomical site in words."""
    laterality: Mapped[str | None] = mapped_column(Text)
    """Left or Right."""
    score: Mapped[float | None]
    """0 to 1: of a lesion, or probability of a class."""
    text: Mapped[str | None] = mapped_column(Text)
    """A caption, or positive / negative for a class."""

    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        Index("ix_finding_code", "code_scheme", "code_value"),
        Index("ix_finding_score", "score", "name"),
    )


class MeasurementRow(Base):
    """One number of a finding."""

    __tablename__ = "measurement"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    finding_id: Mapped[int] = mapped_column(ForeignKey("finding.id"), index=True)
    """The finding."""
    code_value: Mapped[str] = mapped_column(String(64))
    """Of what was measured."""
    code_scheme: Mapped[str] = mapped_column(String(16))
    """Coding scheme, e.g. `SCT`."""
    code_meaning: Mapped[str] = mapped_column(Text)
    """In words."""
    derivation: Mapped[str | None] = mapped_column(Text)
    """Mean, Standard Deviation, ..."""
    value: Mapped[float]
    """The number."""
    unit: Mapped[str] = mapped_column(String(16))
    """UCUM code."""

    __table_args__ = (Index("ix_measurement_code", "code_scheme", "code_value"),)


class ResultRow(Base):
    """One DICOM object of ours."""

    __tablename__ = "result"

    sop_instance_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    """SOPInstanceUID (0008,0018), derived."""
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    """The job that made it."""
    kind: Mapped[str] = mapped_column(String(4))
    """SEG, SR, SC, PR (GSPS), KO (KOS), SEGL (LABELMAP) or SRL (the report that refers to it)."""
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    """SOPClassUID (0008,0016)."""
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), index=True)
    """The study it belongs to."""
    series_uid: Mapped[str] = mapped_column(Uid)
    """SeriesInstanceUID (0020,000E), derived."""
    modality: Mapped[str] = mapped_column(String(16), default="", server_default=text("''"))
    """Modality (0008,0060)."""
    series_number: Mapped[int | None]
    """SeriesNumber (0020,0011)."""
    header: Mapped[dict[str, Any] | None]
    """Keyword -> list of values, as in `series.header`; null for results of older versions."""
    path: Mapped[str] = mapped_column(Text)
    """Relative to the data folder, with forward slashes."""
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the whole file, hex."""
    created_at: Mapped[datetime]
    """When it was recorded."""


class DeliveryRow(Base):
    """Where one result stands with one destination."""

    __tablename__ = "delivery"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    result_uid: Mapped[str] = mapped_column(ForeignKey("result.sop_instance_uid"))
    """The object."""
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    """The job that made it."""
    destination: Mapped[str] = mapped_column(String(32))
    """Name of the destination in the settings."""
    state: Mapped[str] = mapped_column(String(16))
    """waiting, sent-unconfirmed, confirmed, refused, given-up or dismissed."""
    attempt: Mapped[int] = mapped_column(default=0)
    """Tries so far."""
    status: Mapped[int | None]
    """DIMSE status of the last answer."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """Comment of the peer, or why it was not taken."""
    next_try_at: Mapped[datetime | None]
    """When it is tried again."""
    sent_at: Mapped[datetime | None]
    """When the peer answered success or warning."""
    confirmed_at: Mapped[datetime | None]
    """When it was proven that the peer keeps it."""
    confirmed_by: Mapped[str | None] = mapped_column(String(20))
    """storage-commitment or c-find."""
    transaction_uid: Mapped[str | None] = mapped_column(Uid, index=True)
    """Of the last storage commitment request."""
    created_at: Mapped[datetime]
    """When it was put into the outbox, or sent again by a person."""

    __table_args__ = (
        UniqueConstraint("result_uid", "destination"),
        Index("ix_delivery_state", "state", "next_try_at"),
        Index("ix_delivery_sent", "sent_at"),
    )


class EventRow(Base):
    """What happened, in order. Never a patient's name, identifier or report text."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Order of events."""
    at: Mapped[datetime]
    """When it happened."""
    name: Mapped[str] = mapped_column(String(40))
    """What happened, e.g. `study.closed`."""
    study_uid: Mapped[str | None] = mapped_column(Uid)
    """The study, if it is about one."""
    job_id: Mapped[str | None] = mapped_column(String(64))
    """The job, if it is about one."""
    association_id: Mapped[str | None] = mapped_column(String(32))
    """The association, if it is about one."""
    facts: Mapped[dict[str, Any]]
    """Details."""

    __table_args__ = (
        Index("ix_event_study", "study_uid", "id"),
        Index("ix_event_name", "name", "at"),
    )
