"""Workers and what a person asks of them; which worker runs a job."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "worker",
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("devices", JSON, nullable=False),
        sa.Column("is_part_of_node", sa.Boolean(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("left_at", MOMENT, nullable=True),
        sa.Column("drain_asked_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "queue_pause",
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("queue"),
    )
    op.add_column("job", sa.Column("worker", sa.String(length=160), nullable=True))
