"""What a person types for a study or a job, and what is meant by it."""

from sqlalchemy import ColumnElement, or_, select

from dicomnode.domain.errors import StudyError
from dicomnode.domain.identifiers import JobId
from dicomnode.store.database import Database
from dicomnode.store.tables import JobRow, StudyRow

_FEWEST_DIGITS = 6
"""Of the beginning of a job id."""


def study_called(database: Database, name: str) -> str:
    """The UID of the study with that StudyInstanceUID, or that accession number.

    Raises:
        StudyError: there is none, or several have the accession number; they are named.
    """
    called = or_(StudyRow.study_uid == name, StudyRow.accession_number == name)
    query = select(StudyRow.study_uid).where(called).order_by(StudyRow.received_at)
    with database.reading() as connection:
        found = connection.execute(query).scalars().all() if name else []
    if name in found:
        return name
    if not found:
        raise StudyError(
            f"no study {name} has been received: neither StudyInstanceUID nor accession number"
        )
    if len(found) > 1:
        raise StudyError(f"{len(found)} studies have accession number {name}: {', '.join(found)}")
    return found[0]


def job_called(database: Database, name: str) -> JobId:
    """The job with that id, or the only one whose id begins so; as it is where there is none.

    Lists show the first digits alone. Who acts on the job says that it does not exist.

    Raises:
        StudyError: several jobs begin so.
    """
    query = select(JobRow.id).where(_begins(name)).limit(2)
    with database.reading() as connection:
        found = connection.execute(query).scalars().all()
    if name in found or not found:
        return JobId(name)
    if len(found) > 1:
        raise StudyError(f"the ids of several jobs begin with {name}; give more digits")
    return JobId(found[0])


def _begins(name: str) -> ColumnElement[bool]:
    if len(name) < _FEWEST_DIGITS or not name.isdigit():
        return JobRow.id == name
    return JobRow.id.startswith(name)
