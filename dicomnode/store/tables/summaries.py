"""Tables of answers that are kept up to date, so that no question has to read ten million rows.

Each follows from the other tables and is written in the commit that changes them:
`store.summaries` for what reports say, `store.comparisons` for what models found.
"""

from sqlalchemy import ForeignKey, Index, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, Uid

_NO_ROWID = {"sqlite_with_rowid": False}


class ReportMonthRow(Base):
    """Current reports that a version of the miner has read, by month."""

    __tablename__ = "report_month"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    in_force: Mapped[bool] = mapped_column(primary_key=True)
    """True: reports whose labels are this version's; false: those of another one."""
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    """YYYY-MM the reports state."""
    reports: Mapped[int]
    """How many."""

    __table_args__ = (_NO_ROWID,)


class LabelMonthRow(Base):
    """How often current reports of a month give a label."""

    __tablename__ = "label_month"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    in_force: Mapped[bool] = mapped_column(primary_key=True)
    """As in `report_month`."""
    label: Mapped[str] = mapped_column(String(40), primary_key=True)
    """E.g. `effusion`."""
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    """YYYY-MM the reports state."""
    positive: Mapped[int]
    """Reports."""
    negative: Mapped[int]
    """Reports."""
    uncertain: Mapped[int]
    """Reports."""

    __table_args__ = (_NO_ROWID,)


class LabelUnitRow(Base):
    """How often current reports for a ward or clinic give a label."""

    __tablename__ = "label_unit"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    in_force: Mapped[bool] = mapped_column(primary_key=True)
    """As in `report_month`."""
    label: Mapped[str] = mapped_column(String(40), primary_key=True)
    """E.g. `effusion`."""
    referring_unit: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Ward or clinic that asked; the first 200 characters."""
    positive: Mapped[int]
    """Reports."""
    negative: Mapped[int]
    """Reports."""
    uncertain: Mapped[int]
    """Reports."""

    __table_args__ = (_NO_ROWID,)


class LabelScannerRow(Base):
    """How often current reports on images of a scanner give a label."""

    __tablename__ = "label_scanner"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    in_force: Mapped[bool] = mapped_column(primary_key=True)
    """As in `report_month`."""
    label: Mapped[str] = mapped_column(String(40), primary_key=True)
    """E.g. `effusion`."""
    station: Mapped[str] = mapped_column(String(64), primary_key=True)
    """StationName (0008,1010) of the study's first series, 64 characters; empty: none."""
    manufacturer: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Manufacturer (0008,0070); the same."""
    model: Mapped[str] = mapped_column(String(64), primary_key=True)
    """ManufacturerModelName (0008,1090); the same."""
    positive: Mapped[int]
    """Reports."""
    negative: Mapped[int]
    """Reports."""
    uncertain: Mapped[int]
    """Reports."""

    __table_args__ = (_NO_ROWID,)


class LabelTogetherRow(Base):
    """How many current reports have two labels positive."""

    __tablename__ = "label_together"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    in_force: Mapped[bool] = mapped_column(primary_key=True)
    """As in `report_month`."""
    first: Mapped[str] = mapped_column(String(40), primary_key=True)
    """One label."""
    second: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Another one, later in the alphabet."""
    reports: Mapped[int]
    """How many."""

    __table_args__ = (_NO_ROWID,)


class PositiveStudyRow(Base):
    """Positive labels of reports with a known study, in the order of its date."""

    __tablename__ = "positive_study"

    label: Mapped[str] = mapped_column(String(40), primary_key=True)
    """E.g. `effusion`."""
    study_date: Mapped[str] = mapped_column(Text, primary_key=True)
    """Of the study, as sent."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    """The report, current or not."""
    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version of the miner, in force or not."""

    __table_args__ = (_NO_ROWID,)


class ComparisonRow(Base):
    """What a model and a report say of one label of one study."""

    __tablename__ = "comparison"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), primary_key=True)
    """The last job of its algorithm that succeeded."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    """A report of the study that counts."""
    label: Mapped[str] = mapped_column(Text, primary_key=True)
    """E.g. `cardiomegaly`."""
    study_uid: Mapped[str] = mapped_column(Uid, index=True)
    """The study."""
    algorithm: Mapped[str] = mapped_column(Text)
    """Its name."""
    report_value: Mapped[int | None] = mapped_column(SmallInteger)
    """1, 0, -1; null: not mentioned."""
    ai_value: Mapped[int] = mapped_column(SmallInteger)
    """1 or 0."""
    score: Mapped[float | None]
    """Probability, or the ratio."""
    verdict: Mapped[str] = mapped_column(String(16))
    """agree, ai-only, report-only or report-unsure."""

    __table_args__ = (
        Index("ix_comparison_report", "report_id"),
        Index("ix_comparison_counts", "algorithm", "label", "verdict"),
        Index("ix_comparison_label", "label", "score"),
        Index(
            "ix_comparison_differs",
            "verdict",
            "label",
            "score",
            sqlite_where=text("verdict <> 'agree'"),
            postgresql_where=text("verdict <> 'agree'"),
        ),
    )


class MeasuredChangeRow(Base):
    """First and last value of a measurement of one patient."""

    __tablename__ = "measured_change"

    patient_id: Mapped[str] = mapped_column(Text, primary_key=True)
    """PatientID."""
    finding: Mapped[str] = mapped_column(Text, primary_key=True)
    """What was measured, e.g. right lung."""
    measure: Mapped[str] = mapped_column(Text, primary_key=True)
    """E.g. Volume."""
    unit: Mapped[str] = mapped_column(String(16), primary_key=True)
    """UCUM."""
    first_date: Mapped[str] = mapped_column(Text)
    """Of the first study that was measured."""
    first_value: Mapped[float]
    """Its value."""
    last_date: Mapped[str] = mapped_column(Text)
    """Of the last study."""
    last_value: Mapped[float]
    """Its value."""
    change: Mapped[float]
    """Size of the change as a part of the first value; 0 where that is 0."""

    __table_args__ = (Index("ix_measured_change", "measure", "change"),)
