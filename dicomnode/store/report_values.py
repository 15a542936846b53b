"""What is stated beside a report's text, made fit for the columns, with a remark on what was not.

One odd value must neither stop the batch it came in nor be mistaken for another one: what is cut
ends in an ellipsis, which no identifier of a study has, so it ties to nothing and is still seen.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from dicomnode.domain.incoming_reports import IncomingReport

LONGEST = {
    "patient_id": 200,
    "patient_birth_date": 8,
    "patient_sex": 8,
    "accession_number": 200,
    "study_uid": 64,
    "study_date": 8,
    "modality": 16,
    "referring_unit": 200,
}
"""Code points; those of a name are further bounded by what an index page of PostgreSQL takes."""
LONGEST_NAME = 300
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

_REPLACEMENT = "�"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_DAY = re.compile(r"\d{8}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def fitting(report: IncomingReport) -> IncomingReport:
    """`report` with every value such that both databases take it; the text is not touched.

    Names that had to change stay different from each other by a digest of what they were.
    """
    values: dict[str, Any] = {}
    remarks = [report.remarks] if report.remarks else []
    for name, longest in LONGEST.items():
        stated: str = getattr(report, name)
        values[name], faults = _fitting(stated, longest)
        remarks += [f"{name} {fault}" for fault in faults]
    if values["study_date"] and not _DAY.fullmatch(values["study_date"]):
        remarks.append("study_date is not YYYYMMDD")
    if values["study_uid"] and not _UID.fullmatch(values["study_uid"]):
        remarks.append("study_uid is not a UID")
    issued_at = report.issued_at
    if issued_at is not None and not EARLIEST < issued_at < LATEST:
        issued_at = None
        remarks.append("issued_at is out of all bounds and left out")
    return replace(
        report,
        source_id=_name(report.name),
        message_id=_name(report.message_id),
        predecessor_id=_name(report.predecessor_id),
        issued_at=issued_at,
        remarks="; ".join(remarks),
        **values,
    )


def storable(text: str) -> str:
    """`text` with what no database takes replaced one for one, so that places stay the same.

    PostgreSQL refuses the code point 0, both databases refuse lone surrogates.
    """
    return _UNSTORABLE.sub(_REPLACEMENT, text)


def _fitting(text: str, longest: int) -> tuple[str, list[str]]:
    faults = []
    fit = storable(text)
    if fit != text:
        faults.append("has characters that cannot be stored")
    if len(fit) > longest:
        faults.append(f"is longer than {longest} characters and was cut")
        fit = fit[: longest - 1] + "…"
    return fit, faults


def _name(text: str) -> str:
    fit = storable(text)
    if fit == text and len(text) <= LONGEST_NAME:
        return text
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{fit[: LONGEST_NAME - 80]}…{digest}"
