"""Tables of what was received: associations, studies, series, instances."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, Key, RowId, Uid


class AssociationRow(Base):
    """One association a sender made."""

    __tablename__ = "association"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Random, ours; names the folder its instances lie in."""
    calling_ae: Mapped[str] = mapped_column(String(16))
    """AE title of the sender."""
    called_ae: Mapped[str] = mapped_column(String(16))
    """AE title it called."""
    address: Mapped[str] = mapped_column(String(64))
    """IP address it came from."""
    receiver: Mapped[str] = mapped_column(String(80), default="")
    """Which receiver process took it; its next start closes what a crash left open."""
    opened_at: Mapped[datetime]
    """When it was accepted."""
    closed_at: Mapped[datetime | None]
    """When it ended; null while open."""
    outcome: Mapped[str | None] = mapped_column(String(16))
    """released, aborted or lost."""
    service: Mapped[str] = mapped_column(String(8), default="C-STORE", server_default="C-STORE")
    """How it sent: C-STORE, or STOW (one request to the node's DICOMweb; its calling AE title is
    then the user's name)."""

    __table_args__ = (Index("ix_association_open", "closed_at", "id"),)


class StudyRow(Base):
    """One study as it stands."""

    __tablename__ = "study"

    study_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    """StudyInstanceUID (0020,000D)."""
    patient_id: Mapped[str] = mapped_column(Text, default="")
    """PatientID (0010,0020)."""
    patient_name: Mapped[str] = mapped_column(Text, default="")
    """PatientName (0010,0010)."""
    name_key: Mapped[str] = mapped_column(Key, default="", server_default=text("''"))
    """The same without difference of case, to be searched."""
    patient_birth_date: Mapped[str] = mapped_column(Text, default="")
    """PatientBirthDate (0010,0030) as sent."""
    patient_sex: Mapped[str] = mapped_column(Text, default="")
    """PatientSex (0010,0040)."""
    study_date: Mapped[str] = mapped_column(Text, default="")
    """StudyDate (0008,0020) as sent."""
    study_time: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """StudyTime (0008,0030) as sent."""
    study_id: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """StudyID (0020,0010)."""
    referrer_key: Mapped[str] = mapped_column(Key, default="", server_default=text("''"))
    """ReferringPhysicianName (0008,0090) without difference of case, to be searched."""
    accession_number: Mapped[str] = mapped_column(Text, default="")
    """AccessionNumber (0008,0050)."""
    description: Mapped[str] = mapped_column(Text, default="")
    """StudyDescription (0008,1030)."""
    header: Mapped[dict[str, Any]]
    """Study-level keyword -> list of values."""
    instance_count: Mapped[int] = mapped_column(default=0)
    """Indexed instances."""
    revision: Mapped[int] = mapped_column(default=0)
    """Number of its last revision; 0: none yet."""
    new_instances: Mapped[int] = mapped_column(default=0)
    """Indexed since the last revision; more than 0 means the study is open."""
    first_new_at: Mapped[datetime | None]
    """When the first of the new instances was received."""
    last_new_at: Mapped[datetime | None]
    """When the last of the new instances was received."""
    expected_instances: Mapped[int | None]
    """The sender's own count, where it is asked."""
    expected_asked_at: Mapped[datetime | None]
    """When the sender was asked last."""
    received_at: Mapped[datetime]
    """When its first instance came."""
    reports_sought_at: Mapped[datetime | None]
    """When reports that came before it were looked for; null: not yet."""
    pinned_at: Mapped[datetime | None]
    """Since when its images stay whatever the quotas say; null: they do not."""
    images_removed_at: Mapped[datetime | None]
    """When its images were removed by a quota last; what is known of it stays."""

    __table_args__ = (
        Index("ix_study_open", "new_instances"),
        Index("ix_study_unsought", "reports_sought_at"),
        Index("ix_study_patient", "patient_id"),
        Index("ix_study_accession", "accession_number"),
        Index("ix_study_received", "received_at"),
        Index(
            "ix_study_kept",
            "received_at",
            sqlite_where=text("images_removed_at IS NULL"),
            postgresql_where=text("images_removed_at IS NULL"),
        ),
        Index("ix_study_date", "study_date", "study_uid"),
        Index("ix_study_name", "name_key"),
        Index("ix_study_referrer", "referrer_key"),
        Index("ix_study_study_id", "study_id"),
    )


class SeriesRow(Base):
    """One series as it stands."""

    __tablename__ = "series"

    series_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    """SeriesInstanceUID (0020,000E)."""
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), index=True)
    """The study it belongs to."""
    modality: Mapped[str] = mapped_column(String(16))
    """Modality (0008,0060)."""
    series_number: Mapped[int | None]
    """SeriesNumber (0020,0011)."""
    header: Mapped[dict[str, Any]]
    """Keyword -> list of values, as the first indexed instance has them."""
    instance_count: Mapped[int] = mapped_column(default=0)
    """Indexed instances."""
    revision: Mapped[int] = mapped_column(default=0)
    """Number of its last revision of its own; 0: none yet."""
    new_instances: Mapped[int] = mapped_column(default=0)
    """Indexed since the last revision of its own."""
    first_new_at: Mapped[datetime | None]
    """When the first of the new instances was received."""
    last_new_at: Mapped[datetime | None]
    """When the last of the new instances was received."""

    __table_args__ = (
        Index("ix_series_open", "new_instances"),
        Index("ix_series_modality", "modality", "study_uid"),
    )


class InstanceRow(Base):
    """One SOP instance on disk. `landed` rows await indexing."""

    __tablename__ = "instance"

    sop_instance_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    """SOPInstanceUID (0008,0018)."""
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    """SOPClassUID (0008,0016)."""
    transfer_syntax_uid: Mapped[str] = mapped_column(Uid)
    """TransferSyntaxUID (0002,0010)."""
    path: Mapped[str] = mapped_column(Text)
    """Relative to the data folder, with forward slashes."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    """Of the data set."""
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the data set, hex."""
    association_id: Mapped[str] = mapped_column(ForeignKey("association.id"), index=True)
    """Who brought it."""
    received_at: Mapped[datetime]
    """When its last byte was flushed."""
    state: Mapped[str] = mapped_column(String(12), default="landed")
    """landed, indexed, quarantined, own (a result of ours that came back), removing or removed
    (by a quota)."""
    study_uid: Mapped[str | None] = mapped_column(ForeignKey("study.study_uid"))
    """Null until it is indexed."""
    series_uid: Mapped[str | None] = mapped_column(ForeignKey("series.series_uid"), index=True)
    """Null until it is indexed."""
    frames: Mapped[int | None]
    """NumberOfFrames (0028,0008), 1 for single-frame images."""
    instance_number: Mapped[int | None]
    """InstanceNumber (0020,0013)."""
    rows: Mapped[int | None]
    """Rows (0028,0010); null for what is no image."""
    columns: Mapped[int | None]
    """Columns (0028,0011)."""
    bits_allocated: Mapped[int | None]
    """BitsAllocated (0028,0100)."""
    study_revision: Mapped[int | None]
    """The revision of its study that first holds it; null while that is open."""
    series_revision: Mapped[int | None]
    """The same for the revisions of its series alone."""
    report_state: Mapped[str | None] = mapped_column(String(12))
    """Of an SR: waiting, kept (as a report), no-words or unreadable; null for all others."""
    correction_state: Mapped[str | None] = mapped_column(String(12))
    """Of an SEG or SR in a study with results of ours: waiting, kept (as a correction), none or
    unreadable; null for all others."""

    __table_args__ = (
        Index(
            "ix_instance_report",
            "report_state",
            sqlite_where=text("report_state = 'waiting'"),
            postgresql_where=text("report_state = 'waiting'"),
        ),
        Index(
            "ix_instance_correction",
            "correction_state",
            sqlite_where=text("correction_state = 'waiting'"),
            postgresql_where=text("correction_state = 'waiting'"),
        ),
        Index("ix_instance_state", "state", "received_at"),
        Index("ix_instance_study", "study_uid", "study_revision"),
    )


class CommitmentRequestRow(Base):
    """A sender asked for storage commitment of what it sent."""

    __tablename__ = "commitment_request"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    transaction_uid: Mapped[str] = mapped_column(Uid)
    """TransactionUID (0008,1195) of the sender."""
    calling_ae: Mapped[str] = mapped_column(String(16))
    """AE title that asked, and that is told."""
    instances: Mapped[list[Any]]
    """[SOPClassUID, SOPInstanceUID] of each instance."""
    asked_at: Mapped[datetime]
    """When it asked last."""
    state: Mapped[str] = mapped_column(String(12))
    """waiting, reported or given-up."""
    attempt: Mapped[int] = mapped_column(default=0)
    """Tries to tell it so far."""
    next_try_at: Mapped[datetime | None]
    """When it is told next."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it could not be told."""
    committed: Mapped[int | None]
    """Instances that the node answered for."""
    failed: Mapped[int | None]
    """Instances that it did not."""
    reported_at: Mapped[datetime | None]
    """When the sender took the report."""

    __table_args__ = (
        UniqueConstraint("transaction_uid", "calling_ae"),
        Index("ix_commitment_request_due", "state", "next_try_at"),
    )


class QuarantineRow(Base):
    """An object that is on disk but in no study, and why."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number to name it by."""
    kind: Mapped[str] = mapped_column(String(16))
    """conflict, unreadable or misplaced."""
    reason: Mapped[str] = mapped_column(Text)
    """Why, in words."""
    sop_instance_uid: Mapped[str] = mapped_column(Uid, index=True)
    """SOPInstanceUID it was announced under."""
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    """SOPClassUID it was announced under."""
    transfer_syntax_uid: Mapped[str] = mapped_column(Uid)
    """TransferSyntaxUID of its file."""
    path: Mapped[str] = mapped_column(Text)
    """Relative to the data folder, with forward slashes."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    """Of the data set."""
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the data set, hex."""
    association_id: Mapped[str] = mapped_column(ForeignKey("association.id"))
    """Who brought it."""
    at: Mapped[datetime]
    """When it was put here."""
    dismissed_at: Mapped[datetime | None]
    """When a person took it off the list."""
    state: Mapped[str] = mapped_column(String(12), default="kept", server_default="kept")
    """kept, removing or removed (its file, by a quota)."""
    pinned_at: Mapped[datetime | None]
    """When a person said that its file stays, whatever the quotas say."""

    __table_args__ = (UniqueConstraint("sop_instance_uid", "sha256", "kind"),)


class StudyAssociationRow(Base):
    """Which associations brought instances of a study."""

    __tablename__ = "study_association"

    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), primary_key=True)
    """The study."""
    association_id: Mapped[str] = mapped_column(
        ForeignKey("association.id"), primary_key=True, index=True
    )
    """The association."""
