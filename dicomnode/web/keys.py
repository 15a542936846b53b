"""Places in lists, as they stand in addresses."""

from datetime import datetime

from dicomnode.store.study_list import StudyKey


def write_key(key: StudyKey) -> str:
    """A place in the list of studies."""
    return f"{key.received_at.isoformat()}|{key.study_uid}"


def read_key(text: str) -> StudyKey | None:
    """What `write_key` made; None for anything else, which is the first page."""
    moment, _, uid = text.partition("|")
    try:
        received_at = datetime.fromisoformat(moment)
    except ValueError:
        return None
    # Moments at the ends of the calendar have no counterpart in UTC.
    if received_at.tzinfo is None or not uid or not 1900 < received_at.year < 9000:
        return None
    return StudyKey(received_at=received_at, study_uid=uid)
