"""What searches by DICOMweb ask for, as columns with indexes; how an association sent."""

import unicodedata
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
STUDY = sa.table(
    "study",
    sa.column("study_uid", sa.String),
    sa.column("patient_name", sa.Text),
    sa.column("header", JSON),
    sa.column("name_key", sa.Text),
    sa.column("referrer_key", sa.Text),
    sa.column("study_time", sa.Text),
    sa.column("study_id", sa.Text),
)
SERIES = sa.table(
    "series",
    sa.column("series_uid", sa.String),
    sa.column("header", JSON),
    sa.column("series_number", sa.Integer),
)


def upgrade() -> None:
    _add(
        "association", sa.Column("service", sa.String(8), nullable=False, server_default="C-STORE")
    )
    for name, kind in (
        ("name_key", KEY),
        ("study_time", sa.Text()),
        ("study_id", sa.Text()),
        ("referrer_key", KEY),
    ):
        _add("study", sa.Column(name, kind, nullable=False, server_default=sa.text("''")))
    _add("series", sa.Column("series_number", sa.Integer()))
    for name in ("instance_number", "rows", "columns", "bits_allocated"):
        _add("instance", sa.Column(name, sa.Integer()))
    _add(
        "result", sa.Column("modality", sa.String(16), nullable=False, server_default=sa.text("''"))
    )
    _add("result", sa.Column("series_number", sa.Integer()))
    _add("result", sa.Column("header", JSON))
    op.execute("UPDATE result SET modality = CASE kind WHEN 'SC' THEN 'OT' ELSE kind END")
    _fill_studies()
    _fill_series()
    op.create_index("ix_study_date", "study", ["study_date", "study_uid"])
    op.create_index("ix_study_name", "study", ["name_key"])
    op.create_index("ix_study_referrer", "study", ["referrer_key"])
    op.create_index("ix_study_study_id", "study", ["study_id"])
    op.create_index("ix_series_modality", "series", ["modality", "study_uid"])


def _add(table: str, column: "sa.Column[Any]") -> None:
    op.add_column(table, column)


def _fill_studies() -> None:
    bind = op.get_bind()
    rows = bind.execute(sa.select(STUDY.c.study_uid, STUDY.c.patient_name, STUDY.c.header)).all()
    for row in rows:
        bind.execute(
            sa.update(STUDY)
            .where(STUDY.c.study_uid == row.study_uid)
            .values(
                name_key=_key(row.patient_name),
                referrer_key=_key(_first(row.header, "ReferringPhysicianName")),
                study_time=_first(row.header, "StudyTime"),
                study_id=_first(row.header, "StudyID"),
            )
        )


def _fill_series() -> None:
    bind = op.get_bind()
    for row in bind.execute(sa.select(SERIES.c.series_uid, SERIES.c.header)).all():
        number = _first(row.header, "SeriesNumber")
        if number.lstrip("-").isdecimal() and len(number) < 10:
            bind.execute(
                sa.update(SERIES)
                .where(SERIES.c.series_uid == row.series_uid)
                .values(series_number=int(number))
            )


def _first(header: dict[str, list[str]], keyword: str) -> str:
    return next(iter(header.get(keyword, ())), "")


def _key(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
