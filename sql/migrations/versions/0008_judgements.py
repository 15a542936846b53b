"""Rules put to work, results judged, corrections that came back."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

MOMENT = sa.DateTime(timezone=True)
WAITING = sa.text("correction_state = 'waiting'")
IN_FORCE = sa.text("superseded_at IS NULL")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rule_activation",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("replaced_digest", sa.String(length=64), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("remark", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["rule_set.digest"]),
        sa.ForeignKeyConstraint(["replaced_digest"], ["rule_set.digest"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "correction",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=4), nullable=False),
        sa.Column("sign", sa.String(length=16), nullable=False),
        sa.Column("sent_by", sa.String(length=16), nullable=False),
        sa.Column("made_with", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["sop_instance_uid"], ["instance.sop_instance_uid"]),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sop_instance_uid", "job_id"),
    )
    op.create_index("ix_correction_job_id", "correction", ["job_id"], unique=False)
    op.create_table(
        "correction_segment",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("correction_id", ROW_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ours_voxels", sa.BigInteger(), nullable=False),
        sa.Column("theirs_voxels", sa.BigInteger(), nullable=False),
        sa.Column("ours_ml", sa.Double(), nullable=True),
        sa.Column("theirs_ml", sa.Double(), nullable=True),
        sa.Column("dice", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["correction_id"], ["correction.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_correction_segment_correction_id", "correction_segment", ["correction_id"], unique=False
    )
    op.create_table(
        "judgement",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("finding", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=12), nullable=False),
        sa.Column("remark", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("correction_id", ROW_ID, nullable=True),
        sa.Column("superseded_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["correction_id"], ["correction.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_judgement_in_force",
        "judgement",
        ["job_id", "run", "finding"],
        unique=True,
        sqlite_where=IN_FORCE,
        postgresql_where=IN_FORCE,
    )
    op.create_index("ix_judgement_at", "judgement", ["at"], unique=False)
    op.add_column("instance", sa.Column("correction_state", sa.String(length=12), nullable=True))
    op.create_index(
        "ix_instance_correction",
        "instance",
        ["correction_state"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
