"""Reports that cannot be taken: listed for a person, and tried again after a fix.

An HL7 message is put aside as a file of its own; an SR stays where it is, among the images.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from dicomnode.domain.errors import InstanceUnreadable, ReportError
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.incoming_reports import IncomingReport, KeptReport, ReportSource
from dicomnode.receive.reports.hl7 import read_message
from dicomnode.receive.reports.sr import read_sr
from dicomnode.store.database import Database
from dicomnode.store.events import log_event
from dicomnode.store.refused_reports import (
    Ending,
    Refused,
    end_refused,
    note_refused,
    refused,
    waiting_refused,
)
from dicomnode.store.report_instances import WaitingSr
from dicomnode.store.reports import keep_reports

FOLDER = "refused-reports"
"""Below the data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What became of a message that was tried again."""

    number: int
    kept: Sequence[KeptReport]
    reason: str
    """Why it is still refused; empty: it was taken."""


def put_aside(database: Database, data_dir: Path, data: bytes, reason: str, now: datetime) -> None:
    """Keep a message for a person, once, however often it comes; note why it was refused.

    Without data (it was not read to its end) there is only the event.

    Raises:
        OSError: it cannot be written.
        StoreError: it cannot be noted.
    """
    facts: dict[str, str | int] = {"reason": reason}
    if data:
        digest = sha256(data).hexdigest()
        path = data_dir / FOLDER / f"{digest[:32]}.hl7"
        _write(path, data)
        facts["refused"] = note_refused(
            database,
            source=ReportSource.HL7,
            sha256=digest,
            path=path,
            size_bytes=len(data),
            reason=reason,
            now=now,
        )
    log_event(database, Event(name=EventName.REPORT_UNREADABLE, facts=facts), now)


def list_unreadable(database: Database, sr: WaitingSr, reason: str, now: datetime) -> None:
    """List an SR that cannot be read as a report.

    Raises:
        StoreError: it cannot be noted.
    """
    number = note_refused(
        database,
        source=ReportSource.SR,
        # By its name and not by its bytes, which perhaps cannot be read.
        sha256=sha256(sr.sop_instance_uid.encode()).hexdigest(),
        path=sr.path,
        size_bytes=sr.path.stat().st_size if sr.path.exists() else 0,
        reason=reason,
        now=now,
    )
    facts: dict[str, str | int] = {
        "instance": sr.sop_instance_uid,
        "reason": reason,
        "refused": number,
    }
    event = Event(name=EventName.REPORT_UNREADABLE, study_uid=sr.study_uid, facts=facts)
    log_event(database, event, now)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, for nobody else to read."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def retry_refused(
    database: Database,
    accession_fields: Sequence[str],
    clock: Callable[[], datetime],
    number: int | None = None,
) -> list[Retried]:
    """Read refused messages again, one or all; what is taken is kept, and its file removed.

    Raises:
        UnknownRefusal: there is none of that number.
        StoreError: the index cannot be written; what was taken before is.
    """
    tried: list[Retried] = []
    if number is not None:
        return [_retry(database, refused(database, number), accession_fields, clock())]
    while waiting := waiting_refused(database, 100, after=tried[-1].number if tried else 0):
        tried += [_retry(database, each, accession_fields, clock()) for each in waiting]
    return tried


def _retry(
    database: Database, message: Refused, accession_fields: Sequence[str], now: datetime
) -> Retried:
    try:
        reports = _read(message, accession_fields)
    except (ReportError, InstanceUnreadable) as exc:
        return Retried(number=message.id, kept=(), reason=str(exc))
    except OSError as exc:
        reason = f"its file cannot be read ({exc.strerror})"
        return Retried(number=message.id, kept=(), reason=reason)
    kept = keep_reports(database, reports, now)
    end_refused(database, message.id, Ending.TAKEN, now)
    if message.source is ReportSource.HL7:
        message.path.unlink(missing_ok=True)
    return Retried(number=message.id, kept=kept, reason="")


def _read(message: Refused, accession_fields: Sequence[str]) -> list[IncomingReport]:
    if message.source is ReportSource.HL7:
        return [*read_message(message.path.read_bytes(), accession_fields)]
    report = read_sr(message.path)
    return [] if report is None else [report]
