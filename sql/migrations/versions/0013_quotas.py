"""Images that go by quotas, and studies that are kept from them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("study", sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "study", sa.Column("images_removed_at", sa.DateTime(timezone=True), nullable=True)
    )
    kept = sa.text("images_removed_at IS NULL")
    op.create_index(
        "ix_study_kept", "study", ["received_at"], sqlite_where=kept, postgresql_where=kept
    )
