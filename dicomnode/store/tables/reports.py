"""Tables of reports: what came in, what it mentions, which labels that makes.

Places are code points in the untouched text of a part: `text[char_start:char_end]`. What a report
says is kept for each version of the miner; `report.version_id` names the one in force. A label
that is not mentioned has no row: `label_name` lists all there are.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, SmallInteger, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, RowId, Uid


class MiningVersionRow(Base):
    """What labels were made by."""

    __tablename__ = "mining_version"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number to name it by."""
    miner: Mapped[str] = mapped_column(String(16))
    """Version of the program's rules."""
    lexicon: Mapped[str] = mapped_column(String(16))
    """Digest over all lexicon files."""
    policy: Mapped[str] = mapped_column(String(32))
    """What hedged mentions count as: strict, chestxray8, openi."""
    first_used_at: Mapped[datetime]
    """When it was first used."""

    __table_args__ = (UniqueConstraint("miner", "lexicon", "policy"),)


class LabelNameRow(Base):
    """A label that a version of the miner gives or withholds."""

    __tablename__ = "label_name"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    """E.g. `effusion`."""
    position: Mapped[int]
    """Order in tables, from 0."""


class ConceptCodeRow(Base):
    """The code of a concept in a public list."""

    __tablename__ = "concept_code"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    concept: Mapped[str] = mapped_column(String(60), primary_key=True)
    """Lexicon id, e.g. `pleural-effusion`."""
    scheme: Mapped[str] = mapped_column(String(16), primary_key=True)
    """UMLS, SCT or RadLex."""
    value: Mapped[str] = mapped_column(String(32))
    """The code."""


class ReportRow(Base):
    """One version of one report."""

    __tablename__ = "report"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number to name it by."""
    source: Mapped[str] = mapped_column(String(8))
    """The way it came: sr, hl7, fhir or bulk."""
    source_id: Mapped[str] = mapped_column(Text)
    """What the source calls the report in all its versions."""
    number: Mapped[int]
    """1, 2, ... for each source_id, in the order they came."""
    message_id: Mapped[str] = mapped_column(Text, default="")
    """What the source calls the message; empty where it has no name."""
    content_sha256: Mapped[str] = mapped_column(String(64))
    """Of the words and the status, hex."""
    status: Mapped[str] = mapped_column(String(12))
    """preliminary, final, corrected or cancelled."""
    is_current: Mapped[bool]
    """False once a later version has come."""
    supersedes_id: Mapped[int | None] = mapped_column(RowId)
    """The version that was current before."""
    issued_at: Mapped[datetime | None]
    """When the source says it was made."""
    received_at: Mapped[datetime]
    """When it came."""
    patient_id: Mapped[str] = mapped_column(Text, default="")
    """PatientID, as stated."""
    patient_birth_date: Mapped[str] = mapped_column(String(8), default="")
    """YYYYMMDD, as stated."""
    patient_sex: Mapped[str] = mapped_column(String(8), default="")
    """F, M or O, as stated."""
    accession_number: Mapped[str] = mapped_column(Text, default="")
    """AccessionNumber, as stated."""
    stated_study_uid: Mapped[str] = mapped_column(Uid, default="")
    """StudyInstanceUID, as stated."""
    study_date: Mapped[str] = mapped_column(String(8), default="")
    """YYYYMMDD, as stated."""
    modality: Mapped[str] = mapped_column(String(16), default="")
    """As stated."""
    referring_unit: Mapped[str] = mapped_column(Text, default="")
    """Ward or clinic that asked."""
    study_uid: Mapped[str | None] = mapped_column(ForeignKey("study.study_uid"), index=True)
    """The study it belongs to; null: not known."""
    matched_by: Mapped[str | None] = mapped_column(String(20))
    """study-uid, accession or patient-and-date."""
    match_tried_at: Mapped[datetime | None]
    """When its study was last looked for; null: not yet."""
    match_note: Mapped[str] = mapped_column(Text, default="")
    """Why it has no study."""
    remarks: Mapped[str | None] = mapped_column(Text)
    """What was odd about it when it came; null: nothing."""
    version_id: Mapped[int | None] = mapped_column(ForeignKey("mining_version.id"))
    """The version of the miner whose labels are in force; null: not mined yet."""

    __table_args__ = (
        UniqueConstraint("source", "source_id", "number"),
        Index("ix_report_accession", "accession_number"),
        Index("ix_report_patient", "patient_id", "study_date"),
        Index("ix_report_stated_study", "stated_study_uid"),
        Index("ix_report_mined", "version_id", "id"),
        Index("ix_report_untried", "match_tried_at"),
        Index("ix_report_received", "received_at"),
        Index(
            "ix_report_odd",
            "id",
            sqlite_where=text("remarks IS NOT NULL"),
            postgresql_where=text("remarks IS NOT NULL"),
        ),
    )


class ReportPartRow(Base):
    """One field of a report: the text, word for word."""

    __tablename__ = "report_part"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row; the full-text search names it."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    """The report."""
    number: Mapped[int]
    """0, 1, ... within the report."""
    name: Mapped[str] = mapped_column(Text)
    """E.g. `findings`."""
    text: Mapped[str] = mapped_column(Text)
    """Untouched."""

    __table_args__ = (UniqueConstraint("report_id", "number"),)


class ReportReadingRow(Base):
    """One version of the miner has read one report."""

    __tablename__ = "report_reading"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    """The report."""
    is_normal: Mapped[bool]
    """True if there was text and it asserts no abnormal finding of any kind."""
    flags: Mapped[list[Any] | None]
    """Why it could not be read; null: it could."""

    __table_args__ = (
        Index(
            "ix_report_reading_flagged",
            "report_id",
            sqlite_where=text("flags IS NOT NULL"),
            postgresql_where=text("flags IS NOT NULL"),
        ),
        {"sqlite_with_rowid": False},
    )


class ReportSectionRow(Base):
    """A stretch of a report and what it is about."""

    __tablename__ = "report_section"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    """The report."""
    number: Mapped[int] = mapped_column(primary_key=True)
    """0, 1, ... within the report."""
    part: Mapped[int] = mapped_column(SmallInteger)
    """Number of the part."""
    kind: Mapped[str] = mapped_column(String(16))
    """findings, impression, body, indication, comparison, technique or recommendation."""
    char_start: Mapped[int]
    """First code point, without the heading."""
    char_end: Mapped[int]
    """Behind the last code point."""

    __table_args__ = ({"sqlite_with_rowid": False},)


class MentionRow(Base):
    """A finding named in a sentence."""

    __tablename__ = "mention"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    """The report."""
    number: Mapped[int] = mapped_column(primary_key=True)
    """0, 1, ... within the report."""
    concept: Mapped[str] = mapped_column(String(60))
    """Lexicon id, e.g. `pleural-effusion`."""
    label: Mapped[str | None] = mapped_column(String(40))
    """The label it counts for; null: it only speaks against `normal`."""
    part: Mapped[int] = mapped_column(SmallInteger)
    """Number of the part."""
    section: Mapped[str] = mapped_column(String(16))
    """Kind of the section."""
    char_start: Mapped[int]
    """First code point of the words."""
    char_end: Mapped[int]
    """Behind the last."""
    sentence_start: Mapped[int]
    """First code point of their sentence."""
    sentence_end: Mapped[int]
    """Behind the last."""
    assertion: Mapped[str] = mapped_column(String(10))
    """present, absent or uncertain."""
    hedge: Mapped[str] = mapped_column(String(16))
    """How an uncertain one is hedged: none, likely, possible, differential, ..."""
    circumstance: Mapped[str] = mapped_column(String(16))
    """current, history, family or hypothetical; only current ones make labels."""
    method: Mapped[str] = mapped_column(String(8))
    """What decided: plain, term, window, graph or both."""
    rule: Mapped[str] = mapped_column(Text)
    """Id of the deciding rule in the lexicon; empty: nothing speaks against the mention."""
    trigger_start: Mapped[int | None]
    """First code point of the deciding words."""
    trigger_end: Mapped[int | None]
    """Behind the last."""
    window_says: Mapped[str] = mapped_column(String(10))
    """What the scope windows alone say."""
    graph_says: Mapped[str | None] = mapped_column(String(10))
    """What the dependency graph alone says; null: not asked, or no opinion."""
    side: Mapped[str | None] = mapped_column(String(10))
    """left, right or bilateral."""
    severity: Mapped[str | None] = mapped_column(String(40))
    """E.g. `mild`."""
    change: Mapped[str | None] = mapped_column(String(12))
    """new, increased, decreased or unchanged."""
    largest_mm: Mapped[float | None]
    """Largest diameter stated, in millimetres."""
    how_many: Mapped[int | None]
    """How many."""
    more: Mapped[dict[str, Any] | None]
    """`locations` and all `sizes_mm`, where stated."""

    __table_args__ = (
        Index("ix_mention_concept", "concept", "assertion"),
        Index(
            "ix_mention_differs",
            "report_id",
            sqlite_where=text("graph_says <> window_says"),
            postgresql_where=text("graph_says <> window_says"),
        ),
        {"sqlite_with_rowid": False},
    )


class ImageReferenceRow(Base):
    """An image that a sentence points to."""

    __tablename__ = "image_reference"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"))
    """The version."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    """The report."""
    mention: Mapped[int]
    """Number of the mention."""
    label: Mapped[str | None] = mapped_column(String(40))
    """The label of the mention; null: none."""
    series: Mapped[int | None]
    """Series number as written; null: none was."""
    image: Mapped[int]
    """Image number as written."""

    __table_args__ = (
        Index("ix_image_reference_report", "report_id", "version_id"),
        Index("ix_image_reference_label", "label", "report_id"),
    )


class ReportLabelRow(Base):
    """What a report says of one finding. Not mentioned: no row."""

    __tablename__ = "report_label"

    version_id: Mapped[int] = mapped_column(ForeignKey("mining_version.id"), primary_key=True)
    """The version."""
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    """The report."""
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    """E.g. `effusion`."""
    value: Mapped[int] = mapped_column(SmallInteger)
    """1 positive, 0 negative, -1 uncertain."""
    said: Mapped[str] = mapped_column(String(24))
    """The assertions that were met, first letters: `p`, `pa`, `au`, ... (present, absent,
    uncertain)."""
    mention: Mapped[int | None]
    """Number of the mention that decides."""

    __table_args__ = (
        Index(
            "ix_report_label_positive",
            "name",
            "report_id",
            "version_id",
            sqlite_where=text("value = 1"),
            postgresql_where=text("value = 1"),
        ),
        {"sqlite_with_rowid": False},
    )
