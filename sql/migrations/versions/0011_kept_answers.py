"""Answers that are kept up to date, and indexes by what the saved questions ask."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    add_sums()
    add_comparisons()
    label_image_references()
    change_indexes()


def label_image_references() -> None:
    op.add_column("image_reference", sa.Column("label", sa.String(length=40), nullable=True))
    op.execute(
        "UPDATE image_reference SET label = (SELECT m.label FROM mention m "
        "WHERE m.version_id = image_reference.version_id "
        "AND m.report_id = image_reference.report_id AND m.number = image_reference.mention)"
    )
    op.create_index("ix_image_reference_label", "image_reference", ["label", "report_id"])


def add_sums() -> None:
    op.create_table(
        "report_month",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["mining_version.id"]),
        sa.PrimaryKeyConstraint("version_id", "in_force", "month"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "label_month",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("positive", sa.Integer(), nullable=False),
        sa.Column("negative", sa.Integer(), nullable=False),
        sa.Column("uncertain", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["mining_version.id"]),
        sa.PrimaryKeyConstraint("version_id", "in_force", "label", "month"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "label_unit",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("referring_unit", sa.String(length=200), nullable=False),
        sa.Column("positive", sa.Integer(), nullable=False),
        sa.Column("negative", sa.Integer(), nullable=False),
        sa.Column("uncertain", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["mining_version.id"]),
        sa.PrimaryKeyConstraint("version_id", "in_force", "label", "referring_unit"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "label_scanner",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("station", sa.String(length=64), nullable=False),
        sa.Column("manufacturer", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("positive", sa.Integer(), nullable=False),
        sa.Column("negative", sa.Integer(), nullable=False),
        sa.Column("uncertain", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["mining_version.id"]),
        sa.PrimaryKeyConstraint(
            "version_id", "in_force", "label", "station", "manufacturer", "model"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "label_together",
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("first", sa.String(length=40), nullable=False),
        sa.Column("second", sa.String(length=40), nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["mining_version.id"]),
        sa.PrimaryKeyConstraint("version_id", "in_force", "first", "second"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "positive_study",
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("study_date", sa.Text(), nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("version_id", ROW_ID, nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"]),
        sa.ForeignKeyConstraint(["version_id"], ["mining_version.id"]),
        sa.PrimaryKeyConstraint("label", "study_date", "report_id", "version_id"),
        sqlite_with_rowid=False,
    )


def add_comparisons() -> None:
    op.create_table(
        "comparison",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("report_id", ROW_ID, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("report_value", sa.SmallInteger(), nullable=True),
        sa.Column("ai_value", sa.SmallInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"]),
        sa.PrimaryKeyConstraint("job_id", "report_id", "label"),
    )
    op.create_index("ix_comparison_study_uid", "comparison", ["study_uid"])
    op.create_index("ix_comparison_report", "comparison", ["report_id"])
    op.create_index("ix_comparison_counts", "comparison", ["algorithm", "label", "verdict"])
    op.create_index("ix_comparison_label", "comparison", ["label", "score"])
    partial("ix_comparison_differs", "comparison", ["verdict", "label", "score"], DIFFERS)
    op.create_table(
        "measured_change",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("finding", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("first_date", sa.Text(), nullable=False),
        sa.Column("first_value", sa.Double(), nullable=False),
        sa.Column("last_date", sa.Text(), nullable=False),
        sa.Column("last_value", sa.Double(), nullable=False),
        sa.Column("change", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("patient_id", "finding", "measure", "unit"),
    )
    op.create_index("ix_measured_change", "measured_change", ["measure", "change"])


DIFFERS = "verdict <> 'agree'"


def change_indexes() -> None:
    op.drop_index("ix_report_label_value", "report_label")
    partial(
        "ix_report_label_positive", "report_label", ["name", "report_id", "version_id"], "value = 1"
    )
    partial("ix_mention_differs", "mention", ["report_id"], "graph_says <> window_says")
    partial("ix_report_reading_flagged", "report_reading", ["report_id"], "flags IS NOT NULL")
    op.drop_index("ix_job_study_uid", "job")
    op.create_index("ix_job_study", "job", ["study_uid", "state", "algorithm", "finished_at"])
    op.create_index("ix_finding_score", "finding", ["score", "name"])
    op.create_index("ix_delivery_sent", "delivery", ["sent_at"])


def partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
