"""Objects in quarantine that go by quotas, and those that are kept from them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column(
        "quarantine", sa.Column("state", sa.String(12), nullable=False, server_default="kept")
    )
    op.add_column("quarantine", sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=True))
