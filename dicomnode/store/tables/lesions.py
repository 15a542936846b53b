"""Tables of lesions over time: places and sizes, growth, and what studies were compared by."""

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, Uid


class LesionRow(Base):
    """A lesion that has two measured axes; its type, site and score are in `finding`."""

    __tablename__ = "lesion"

    finding_id: Mapped[int] = mapped_column(ForeignKey("finding.id"), primary_key=True)
    """The finding."""
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), index=True)
    """The job that found it."""
    tracking_uid: Mapped[str] = mapped_column(Uid, index=True)
    """Tracking Unique Identifier (DCM 112040), the same in every study that shows the lesion."""
    x: Mapped[float]
    """Middle of the long axis in the patient (LPS, mm): to the left."""
    y: Mapped[float]
    """To the back."""
    z: Mapped[float]
    """To the head."""
    long_axis_mm: Mapped[float]
    """Longest diameter on its slice."""
    short_axis_mm: Mapped[float]
    """Longest diameter at a right angle to it."""
    volume_ml: Mapped[float | None]
    """Where there is a mask."""
    sop_instance_uid: Mapped[str] = mapped_column(Uid)
    """The image its axes are drawn on."""
    prior_job_id: Mapped[str | None] = mapped_column(String(64))
    """The job on the last earlier study that shows it; null for a lesion that is new."""
    days: Mapped[int | None]
    """Since that study."""
    long_axis_percent: Mapped[float | None]
    """Change of the long axis since then."""
    short_axis_percent: Mapped[float | None]
    """Change of the short axis since then."""
    volume_percent: Mapped[float | None]
    """Change of the volume since then."""
    doubling_days: Mapped[float | None]
    """Doubling time of the volume; null unless it grew."""

    __table_args__ = (
        Index("ix_lesion_size", "long_axis_mm", "finding_id"),
        Index("ix_lesion_growth", "long_axis_percent", "finding_id"),
    )


class BodyMapRow(Base):
    """The tissues of a CT in which lesions were looked for, coarse: later CTs are laid on it."""

    __tablename__ = "body_map"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), primary_key=True)
    """The job."""
    map: Mapped[dict[str, Any]]
    """Shape, origin and spacing in the patient, and the packed classes."""


class FollowUpRow(Base):
    """One comparison of a CT with an earlier one of the patient."""

    __tablename__ = "follow_up"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), primary_key=True)
    """The job on the later study."""
    prior_job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), primary_key=True)
    """The job on the earlier one."""
    days: Mapped[int]
    """Between the studies."""
    agreement: Mapped[float]
    """Correlation of the tissues once laid on each other, -1 to 1."""
    common_mm: Mapped[float]
    """Length along the body that both show."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why no lesion was matched; empty if they were."""


class LesionMissingRow(Base):
    """A lesion of an earlier study that a later one has no counterpart of."""

    __tablename__ = "lesion_missing"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), primary_key=True)
    """The job on the later study."""
    tracking_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    """Of the lesion."""
    prior_job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    """The job that found it."""
    name: Mapped[str] = mapped_column(Text)
    """What it was called there."""
    fate: Mapped[str] = mapped_column(String(32))
    """not found again, or outside of these images."""
