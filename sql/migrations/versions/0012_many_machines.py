"""Workers that are lost and come back, and rules that take turns."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column(
        "worker", sa.Column("epoch", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    op.add_column("worker", sa.Column("lost_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "job", sa.Column("turn", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
