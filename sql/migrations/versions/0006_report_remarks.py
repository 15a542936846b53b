"""What was odd about a report when it came."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

ODD = sa.text("remarks IS NOT NULL")


def upgrade() -> None:
    op.add_column("report", sa.Column("remarks", sa.Text(), nullable=True))
    op.create_index(
        "ix_report_odd", "report", ["id"], unique=False, sqlite_where=ODD, postgresql_where=ODD
    )
    # A message is told by the report it is of, so nothing is looked for by this.
    op.drop_index("ix_report_message", table_name="report")
    # Reports that state a better key were tied by patient and day all the same: look again.
    op.execute(
        "UPDATE report SET match_tried_at = NULL WHERE matched_by = 'patient-and-date' "
        "AND (accession_number <> '' OR stated_study_uid <> '')"
    )
