"""Tables of what people decided: rules put to work, results judged, objects sent back."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, RowId


class RuleActivationRow(Base):
    """A rule file that a person put to work."""

    __tablename__ = "rule_activation"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Order of activations."""
    digest: Mapped[str] = mapped_column(ForeignKey("rule_set.digest"))
    """The version that was put to work."""
    replaced_digest: Mapped[str] = mapped_column(ForeignKey("rule_set.digest"))
    """The version it took the place of."""
    by: Mapped[str] = mapped_column(Text)
    """Who did it."""
    remark: Mapped[str] = mapped_column(Text, default="")
    """Why."""
    at: Mapped[datetime]
    """When."""


class CorrectionRow(Base):
    """An SEG or SR that came back in the place of a result of ours."""

    __tablename__ = "correction"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    sop_instance_uid: Mapped[str] = mapped_column(ForeignKey("instance.sop_instance_uid"))
    """The object."""
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    """The job whose result it corrects."""
    run: Mapped[int]
    """The job's run it was compared with."""
    kind: Mapped[str] = mapped_column(String(4))
    """SEG or SR."""
    sign: Mapped[str] = mapped_column(String(16))
    """By what it is known: predecessor, reference, tracking-uid or same-segment."""
    sent_by: Mapped[str] = mapped_column(String(16))
    """AE title of the sender."""
    made_with: Mapped[str] = mapped_column(Text, default="")
    """Manufacturer and model, as stated."""
    note: Mapped[str] = mapped_column(Text, default="")
    """Why its segments could not be compared."""
    at: Mapped[datetime]
    """When it was recognised."""

    __table_args__ = (UniqueConstraint("sop_instance_uid", "job_id"),)


class CorrectionSegmentRow(Base):
    """One segment of a correction beside ours."""

    __tablename__ = "correction_segment"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    correction_id: Mapped[int] = mapped_column(ForeignKey("correction.id"), index=True)
    """The correction."""
    name: Mapped[str] = mapped_column(Text)
    """Label of the segment."""
    ours_voxels: Mapped[int] = mapped_column(BigInteger)
    """Voxels in ours; 0: it is in theirs alone."""
    theirs_voxels: Mapped[int] = mapped_column(BigInteger)
    """Voxels in theirs."""
    ours_ml: Mapped[float | None]
    """Volume of ours in millilitres; null on radiographs."""
    theirs_ml: Mapped[float | None]
    """Volume of theirs in millilitres; null on radiographs."""
    dice: Mapped[float]
    """Overlap, 0 to 1."""


class JudgementRow(Base):
    """A person's word on a result or on one finding."""

    __tablename__ = "judgement"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Order of judgements."""
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    """The job."""
    run: Mapped[int]
    """The job's run that was judged; a rerun has to be judged anew."""
    finding: Mapped[int]
    """Number of the finding within the job; 0: the whole result."""
    verdict: Mapped[str] = mapped_column(String(12))
    """accepted, rejected or corrected."""
    remark: Mapped[str] = mapped_column(Text, default="")
    """In the person's words."""
    by: Mapped[str] = mapped_column(Text)
    """Name of the account, or AE title that sent a correction."""
    at: Mapped[datetime]
    """When."""
    correction_id: Mapped[int | None] = mapped_column(ForeignKey("correction.id"))
    """The object that came back; null: judged on a page."""
    superseded_at: Mapped[datetime | None]
    """When a later word took its place; null: in force."""

    __table_args__ = (
        Index(
            "ix_judgement_in_force",
            "job_id",
            "run",
            "finding",
            unique=True,
            sqlite_where=text("superseded_at IS NULL"),
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index("ix_judgement_at", "at"),
    )
