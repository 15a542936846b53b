"""SR instances that may hold a report."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

WAITING = sa.text("report_state = 'waiting'")


def upgrade() -> None:
    op.add_column("instance", sa.Column("report_state", sa.String(length=12), nullable=True))
    op.create_index(
        "ix_instance_report",
        "instance",
        ["report_state"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
