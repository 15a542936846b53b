"""What a run takes of memory, and what a waiting one waits for."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("job", sa.Column("voxels", sa.BigInteger(), nullable=True))
    op.add_column("job", sa.Column("peak_bytes", sa.BigInteger(), nullable=True))
    op.add_column(
        "job", sa.Column("waits_for", sa.Text(), nullable=False, server_default=sa.text("''"))
    )
