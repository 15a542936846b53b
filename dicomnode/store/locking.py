"""Rows that several transactions change, locked in one order, so that none waits for the other.

The order: the turn of the sums (`comparisons.take_turn`), then studies by their UID, then whatever
belongs to a study.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from dicomnode.store.tables import StudyRow


def lock_studies(connection: Connection, study_uids: Iterable[str]) -> None:
    """Have the rows of these studies until the transaction ends.

    To be asked once in a transaction, for all of them. SQLite has one writer at a time anyway.
    """
    if connection.dialect.name != "postgresql":
        return
    query = (
        select(StudyRow.study_uid)
        .where(StudyRow.study_uid.in_(sorted(study_uids)))
        .order_by(StudyRow.study_uid)
        # Rows that refer to a study may be added meanwhile.
        .with_for_update(key_share=True)
    )
    connection.execute(query).all()
