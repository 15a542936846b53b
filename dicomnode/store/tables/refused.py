"""Table of messages that were refused and lie in a folder for a person."""

from datetime import datetime

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, RowId


class RefusedReportRow(Base):
    """One message that could not be taken as a report, whatever it holds."""

    __tablename__ = "refused_report"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number to name it by."""
    source: Mapped[str] = mapped_column(String(8))
    """The way it came: hl7."""
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    """Of the message, hex."""
    path: Mapped[str] = mapped_column(Text)
    """Relative to the data folder, with forward slashes."""
    size_bytes: Mapped[int]
    """Of the message."""
    reason: Mapped[str] = mapped_column(Text)
    """Why it was refused last; quotes nothing of it."""
    times: Mapped[int]
    """How often it was refused."""
    first_at: Mapped[datetime]
    """When it came first."""
    last_at: Mapped[datetime]
    """When it was refused last."""
    ended_at: Mapped[datetime | None]
    """When it was taken after all, or dismissed; null: it waits for a person."""
    ended_by: Mapped[str | None] = mapped_column(String(12))
    """taken or dismissed."""

    __table_args__ = (
        Index(
            "ix_refused_report_waiting",
            "last_at",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )
