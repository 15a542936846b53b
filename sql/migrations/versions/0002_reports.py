"""Reports, what they mention, and their labels."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

MOMENT = sa.DateTime(timezone=True)
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "mining_version",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("miner", sa.String(length=16), nullable=False),
        sa.Column("lexicon", sa.String(length=16), nullable=False),
        sa.Column("policy", sa.String(length=32), nullable=False),
        sa.Column("first_used_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("miner", "lexicon", "policy"),
    )

    op.create_table(
        "concept_code",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("concept", sa.String(length=60), nullable=False),
        sa.Column("scheme", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("version_id", "concept", "scheme"),
    )

    op.create_table(
        "label_name",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("version_id", "name"),
    )

    op.create_table(
        "report",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("supersedes_id", ROW_ID, nullable=True),
        sa.Column("issued_at", MOMENT, nullable=True),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.String(length=8), nullable=False),
        sa.Column("patient_sex", sa.String(length=8), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("stated_study_uid", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.String(length=8), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("referring_unit", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=True),
        sa.Column("matched_by", sa.String(length=20), nullable=True),
        sa.Column("match_tried_at", MOMENT, nullable=True),
        sa.Column("match_note", sa.Text(), nullable=False),
        sa.Column("version_id", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["study_uid"],
            ["study.study_uid"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source", "source_id", "number"),
    )
    op.create_index("ix_report_accession", "report", ["accession_number"], unique=False)
    op.create_index("ix_report_message", "report", ["message_id"], unique=False)
    op.create_index("ix_report_mined", "report", ["version_id", "id"], unique=False)
    op.create_index("ix_report_patient", "report", ["patient_id", "study_date"], unique=False)
    op.create_index("ix_report_received", "report", ["received_at"], unique=False)
    op.create_index("ix_report_stated_study", "report", ["stated_study_uid"], unique=False)
    op.create_index(op.f("ix_report_study_uid"), "report", ["study_uid"], unique=False)
    op.create_index("ix_report_untried", "report", ["match_tried_at"], unique=False)

    op.create_table(
        "image_reference",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("mention", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=True),
        sa.Column("image", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["report.id"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_image_reference_report", "image_reference", ["report_id", "version_id"], unique=False
    )

    op.create_table(
        "mention",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("concept", sa.String(length=60), nullable=False),
        sa.Column("label", sa.String(length=40), nullable=True),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("section", sa.String(length=16), nullable=False),
        sa.Column("char_start", sa.Integer(), nullable=False),
        sa.Column("char_end", sa.Integer(), nullable=False),
        sa.Column("sentence_start", sa.Integer(), nullable=False),
        sa.Column("sentence_end", sa.Integer(), nullable=False),
        sa.Column("assertion", sa.String(length=10), nullable=False),
        sa.Column("hedge", sa.String(length=16), nullable=False),
        sa.Column("circumstance", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("trigger_start", sa.Integer(), nullable=True),
        sa.Column("trigger_end", sa.Integer(), nullable=True),
        sa.Column("window_says", sa.String(length=10), nullable=False),
        sa.Column("graph_says", sa.String(length=10), nullable=True),
        sa.Column("side", sa.String(length=10), nullable=True),
        sa.Column("severity", sa.String(length=40), nullable=True),
        sa.Column("change", sa.String(length=12), nullable=True),
        sa.Column("largest_mm", sa.Double(), nullable=True),
        sa.Column("how_many", sa.Integer(), nullable=True),
        sa.Column("more", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["report.id"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("version_id", "report_id", "number"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_mention_concept", "mention", ["concept", "assertion"], unique=False)

    op.create_table(
        "report_label",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.SmallInteger(), nullable=False),
        sa.Column("said", sa.String(length=24), nullable=False),
        sa.Column("mention", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["report.id"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("version_id", "report_id", "name"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_report_label_value",
        "report_label",
        ["name", "value", "version_id", "report_id"],
        unique=False,
    )

    op.create_table(
        "report_part",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["report.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("report_id", "number"),
    )

    op.create_table(
        "report_reading",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("is_normal", sa.Boolean(), nullable=False),
        sa.Column("flags", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["report.id"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("version_id", "report_id"),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "report_section",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("char_start", sa.Integer(), nullable=False),
        sa.Column("char_end", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["report.id"],
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["mining_version.id"],
        ),
        sa.PrimaryKeyConstraint("version_id", "report_id", "number"),
        sqlite_with_rowid=False,
    )
    op.add_column("study", sa.Column("reports_sought_at", MOMENT, nullable=True))
    op.create_index("ix_study_unsought", "study", ["reports_sought_at"], unique=False)
