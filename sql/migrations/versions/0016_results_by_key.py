"""Results, newest first, page by page."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_index("ix_job_finished", "job", ["state", "finished_at", "id"])
