"""Places in lists, as they stand in addresses."""

from datetime import datetime

from dicomnode.store.disagreements import DisagreementKey
from dicomnode.store.results_told import ResultKey
from dicomnode.store.study_list import StudyKey


def write_key(key: StudyKey) -> str:
    """A place in the list of studies."""
    return _written(key.received_at, key.study_uid)


def read_key(text: str) -> StudyKey | None:
    """What `write_key` made; None for anything else, which is the first page."""
    found = _read(text)
    return StudyKey(received_at=found[0], study_uid=found[1]) if found else None


def write_result_key(key: ResultKey) -> str:
    """A place in the list of results."""
    return _written(key.finished_at, key.job_id)


def read_result_key(text: str) -> ResultKey | None:
    """What `write_result_key` made; None for anything else, which is the first page."""
    found = _read(text)
    return ResultKey(finished_at=found[0], job_id=found[1]) if found else None


def write_disagreement_key(key: DisagreementKey) -> str:
    """A place in the list of disagreements."""
    return f"{key.report_id}|{key.job_id}|{key.label}"


def read_disagreement_key(text: str) -> DisagreementKey | None:
    """What `write_disagreement_key` made; None for anything else, which is the first page."""
    number, job_id, label = (*text.split("|", 2), "", "")[:3]
    if not (number.isascii() and number.isdecimal() and len(number) < 19 and job_id and label):
        return None
    return DisagreementKey(report_id=int(number), label=label, job_id=job_id)


def _written(moment: datetime, name: str) -> str:
    return f"{moment.isoformat()}|{name}"


def _read(text: str) -> tuple[datetime, str] | None:
    stated, _, name = text.partition("|")
    try:
        moment = datetime.fromisoformat(stated)
    except ValueError:
        return None
    # Moments at the ends of the calendar have no counterpart in UTC.
    if moment.tzinfo is None or not name or not 1900 < moment.year < 9000:
        return None
    return moment, name
