"""Every table, as typed mappings. Migrations live in `sql/migrations`; a test compares the two."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Uid = String(64)
# SQLite counts up only on a column that is exactly INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")
Json = JSON().with_variant(JSONB, "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment. Timezone-aware on both sides; SQLite, which has no zones, keeps UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Store as UTC; a naive moment is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Registry of the tables."""

    type_annotation_map = {  # noqa: RUF012 (read by SQLAlchemy as a class attribute)
        datetime: UtcDateTime,
        dict[str, Any]: Json,
        list[Any]: Json,
    }


class AssociationRow(Base):
    """One association a sender made."""

    __tablename__ = "association"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    calling_ae: Mapped[str] = mapped_column(String(16))
    called_ae: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(64))
    receiver: Mapped[str] = mapped_column(String(80), default="")
    """Which receiver process took it; its next start closes what a crash left open."""
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    """released, aborted or lost."""

    __table_args__ = (Index("ix_association_open", "closed_at", "id"),)


class StudyRow(Base):
    """One study as it stands."""

    __tablename__ = "study"

    study_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    patient_id: Mapped[str] = mapped_column(Text, default="")
    patient_name: Mapped[str] = mapped_column(Text, default="")
    patient_birth_date: Mapped[str] = mapped_column(Text, default="")
    patient_sex: Mapped[str] = mapped_column(Text, default="")
    study_date: Mapped[str] = mapped_column(Text, default="")
    accession_number: Mapped[str] = mapped_column(Text, default="")
    description: Mapped[str] = mapped_column(Text, default="")
    header: Mapped[dict[str, Any]]
    """Study-level keyword -> list of values."""
    instance_count: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=0)
    new_instances: Mapped[int] = mapped_column(default=0)
    """Indexed since the last revision; more than 0 means the study is open."""
    first_new_at: Mapped[datetime | None]
    last_new_at: Mapped[datetime | None]
    expected_instances: Mapped[int | None]
    """The sender's own count, where it is asked."""
    expected_asked_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    """When its first instance came."""

    __table_args__ = (
        Index("ix_study_open", "new_instances"),
        Index("ix_study_patient", "patient_id"),
        Index("ix_study_accession", "accession_number"),
        Index("ix_study_received", "received_at"),
    )


class SeriesRow(Base):
    """One series as it stands."""

    __tablename__ = "series"

    series_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), index=True)
    modality: Mapped[str] = mapped_column(String(16))
    header: Mapped[dict[str, Any]]
    """Keyword -> list of values, as the first indexed instance has them."""
    instance_count: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=0)
    new_instances: Mapped[int] = mapped_column(default=0)
    first_new_at: Mapped[datetime | None]
    last_new_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_series_open", "new_instances"),)


class InstanceRow(Base):
    """One SOP instance on disk. `landed` rows await indexing."""

    __tablename__ = "instance"

    sop_instance_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    transfer_syntax_uid: Mapped[str] = mapped_column(Uid)
    path: Mapped[str] = mapped_column(Text)
    """Relative to the data folder, with forward slashes."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    association_id: Mapped[str] = mapped_column(ForeignKey("association.id"), index=True)
    received_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(12), default="landed")
    """landed, indexed, quarantined, or own (a result of ours that came back)."""
    study_uid: Mapped[str | None] = mapped_column(ForeignKey("study.study_uid"))
    series_uid: Mapped[str | None] = mapped_column(ForeignKey("series.series_uid"), index=True)
    frames: Mapped[int | None]
    study_revision: Mapped[int | None]
    """The revision of its study that first holds it; null while that is open."""
    series_revision: Mapped[int | None]

    __table_args__ = (
        Index("ix_instance_state", "state", "received_at"),
        Index("ix_instance_study", "study_uid", "study_revision"),
    )


class QuarantineRow(Base):
    """An object that is on disk but in no study, and why."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    sop_instance_uid: Mapped[str] = mapped_column(Uid, index=True)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    transfer_syntax_uid: Mapped[str] = mapped_column(Uid)
    path: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    association_id: Mapped[str] = mapped_column(ForeignKey("association.id"))
    at: Mapped[datetime]
    dismissed_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("sop_instance_uid", "sha256", "kind"),)


class StudyAssociationRow(Base):
    """Which associations brought instances of a study."""

    __tablename__ = "study_association"

    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), primary_key=True)
    association_id: Mapped[str] = mapped_column(
        ForeignKey("association.id"), primary_key=True, index=True
    )


class RuleSetRow(Base):
    """One version of the rule file that was in force."""

    __tablename__ = "rule_set"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    first_used_at: Mapped[datetime]


class RevisionRow(Base):
    """A study, or one series of it, closed on stated evidence."""

    __tablename__ = "revision"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"))
    series_uid: Mapped[str] = mapped_column(Uid, default="")
    """Empty: the whole study."""
    number: Mapped[int]
    reason: Mapped[str] = mapped_column(String(16))
    evidence: Mapped[dict[str, Any]]
    calling_aes: Mapped[list[Any]]
    closed_at: Mapped[datetime]
    instance_count: Mapped[int]
    matched_at: Mapped[datetime | None]
    rule_set_digest: Mapped[str | None] = mapped_column(ForeignKey("rule_set.digest"))
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
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), index=True)
    rule_name: Mapped[str] = mapped_column(Text)
    rule_set_digest: Mapped[str] = mapped_column(ForeignKey("rule_set.digest"))
    algorithm: Mapped[str] = mapped_column(Text)
    algorithm_version: Mapped[str | None] = mapped_column(Text)
    model_digest: Mapped[str | None] = mapped_column(String(64))
    inputs: Mapped[dict[str, Any]]
    """Input name -> SeriesInstanceUID."""
    input_digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 over the digests of the instances that went in."""
    priority: Mapped[int]
    destinations: Mapped[list[Any]]
    state: Mapped[str] = mapped_column(String(12))
    """queued, running, succeeded, refused, failed, cancelled, dismissed."""
    reason: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str] = mapped_column(String(40), default="")
    """Name of the error class."""
    attempt: Mapped[int] = mapped_column(default=1)
    run: Mapped[int] = mapped_column(default=1)
    """Counts reruns asked for by a person."""
    predecessor_id: Mapped[str | None] = mapped_column(String(64))
    """The job of the earlier revision whose results these supersede."""
    deadline_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    device: Mapped[str | None] = mapped_column(Text)
    seconds: Mapped[dict[str, Any] | None]
    """Stage -> seconds."""
    warnings: Mapped[list[Any] | None]

    __table_args__ = (Index("ix_job_state", "state", "created_at"),)


class FindingRow(Base):
    """One finding of a job."""

    __tablename__ = "finding"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    """segment, lesion, measurement, class or caption."""
    name: Mapped[str] = mapped_column(Text)
    code_value: Mapped[str | None] = mapped_column(String(64))
    code_scheme: Mapped[str | None] = mapped_column(String(16))
    code_meaning: Mapped[str | None] = mapped_column(Text)
    site_meaning: Mapped[str | None] = mapped_column(Text)
    laterality: Mapped[str | None] = mapped_column(Text)
    score: Mapped[float | None]
    text: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        Index("ix_finding_code", "code_scheme", "code_value"),
    )


class MeasurementRow(Base):
    """One number of a finding."""

    __tablename__ = "measurement"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    finding_id: Mapped[int] = mapped_column(ForeignKey("finding.id"), index=True)
    code_value: Mapped[str] = mapped_column(String(64))
    code_scheme: Mapped[str] = mapped_column(String(16))
    code_meaning: Mapped[str] = mapped_column(Text)
    derivation: Mapped[str | None] = mapped_column(Text)
    value: Mapped[float]
    unit: Mapped[str] = mapped_column(String(16))

    __table_args__ = (Index("ix_measurement_code", "code_scheme", "code_value"),)


class ResultRow(Base):
    """One DICOM object of ours."""

    __tablename__ = "result"

    sop_instance_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    kind: Mapped[str] = mapped_column(String(4))
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), index=True)
    series_uid: Mapped[str] = mapped_column(Uid)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class DeliveryRow(Base):
    """Where one result stands with one destination."""

    __tablename__ = "delivery"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    result_uid: Mapped[str] = mapped_column(ForeignKey("result.sop_instance_uid"))
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    destination: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)
    status: Mapped[int | None]
    """DIMSE status of the last answer."""
    reason: Mapped[str] = mapped_column(Text, default="")
    next_try_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    confirmed_by: Mapped[str | None] = mapped_column(String(20))
    transaction_uid: Mapped[str | None] = mapped_column(Uid, index=True)
    """Of the last storage commitment request."""
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("result_uid", "destination"),
        Index("ix_delivery_state", "state", "next_try_at"),
    )


class EventRow(Base):
    """What happened, in order. Never a patient's name, identifier or report text."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime]
    name: Mapped[str] = mapped_column(String(40))
    study_uid: Mapped[str | None] = mapped_column(Uid)
    job_id: Mapped[str | None] = mapped_column(String(64))
    association_id: Mapped[str | None] = mapped_column(String(32))
    facts: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("ix_event_study", "study_uid", "id"),
        Index("ix_event_name", "name", "at"),
    )
