"""Lesions over time."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(
    sa.dialects.postgresql.JSONB(none_as_null=True), "postgresql"
)


def upgrade() -> None:
    op.create_table(
        "lesion",
        sa.Column("finding_id", ROW_ID, nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("tracking_uid", sa.String(length=64), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("z", sa.Double(), nullable=False),
        sa.Column("long_axis_mm", sa.Double(), nullable=False),
        sa.Column("short_axis_mm", sa.Double(), nullable=False),
        sa.Column("volume_ml", sa.Double(), nullable=True),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("prior_job_id", sa.String(length=64), nullable=True),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("long_axis_percent", sa.Double(), nullable=True),
        sa.Column("short_axis_percent", sa.Double(), nullable=True),
        sa.Column("volume_percent", sa.Double(), nullable=True),
        sa.Column("doubling_days", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["finding_id"], ["finding.id"]),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("finding_id"),
    )
    op.create_index("ix_lesion_job_id", "lesion", ["job_id"])
    op.create_index("ix_lesion_tracking_uid", "lesion", ["tracking_uid"])
    op.create_index("ix_lesion_size", "lesion", ["long_axis_mm", "finding_id"])
    op.create_index("ix_lesion_growth", "lesion", ["long_axis_percent", "finding_id"])
    op.create_table(
        "body_map",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("map", JSON, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "follow_up",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("prior_job_id", sa.String(length=64), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("agreement", sa.Double(), nullable=False),
        sa.Column("common_mm", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["prior_job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "prior_job_id"),
    )
    op.create_table(
        "lesion_missing",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("tracking_uid", sa.String(length=64), nullable=False),
        sa.Column("prior_job_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fate", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["prior_job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "tracking_uid"),
    )
