"""A notice of an urgent study as an HL7 v2.5.1 message ORU^R01, in UTF-8."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from dicomnode.domain.notices import SENDER, Notice, NoticedFinding

_ESCAPES = {mark: f"\\{name}\\" for mark, name in zip("|^~\\&", "FSRET", strict=True)}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_PRIORITIES = {"stat": "S", "high": "A"}
"""OBR-5 (HL7 table 0027): stat, as soon as possible; else routine."""


def control_id(notice: Notice) -> str:
    """MSH-10: the same whenever the notice is sent again."""
    return f"{notice.job_id[:12]}-{notice.id}"


def notice_message(
    notice: Notice, *, ae_title: str, receiver: tuple[str, str], now: datetime
) -> bytes:
    """The message, segments ended by CR.

    Each finding is a coded OBX, its probability a numeric one; a text says that this is research
    use only. All are preliminary (P). `receiver` is MSH-5 and MSH-6.
    """
    segments = [
        [
            "MSH",
            "^~\\&",
            SENDER,
            *(_text(each) for each in (ae_title, *receiver)),
            _moment(now),
            "",
            "ORU^R01^ORU_R01",
            control_id(notice),
            "P",
            "2.5.1",
            *[""] * 5,
            "UNICODE UTF-8",
        ],
        _patient(notice),
        _order(notice),
        *_observations(notice),
    ]
    return "".join("|".join(fields).rstrip("|") + "\r" for fields in segments).encode()


def _patient(notice: Notice) -> list[str]:
    # The components of a DICOM name are those of an HL7 name; groups of other scripts are left out.
    name = notice.patient_name.split("=", 1)[0]
    family, given, middle, prefix, suffix = [*name.split("^"), *[""] * 5][:5]
    parts = (_text(each) for each in (family, given, middle, suffix, prefix))
    return [
        "PID",
        "1",
        "",
        _text(notice.patient_id),
        "",
        "^".join(parts).rstrip("^"),
        "",
        _digits(notice.patient_birth_date),
        _text(notice.patient_sex),
    ]


def _order(notice: Notice) -> list[str]:
    fields = [""] * 26
    fields[0], fields[1] = "OBR", "1"
    fields[2] = fields[3] = fields[18] = _text(notice.accession_number)
    fields[4] = _coded(notice.algorithm, notice.description or notice.algorithm, "99DICOMNODE")
    fields[5] = _PRIORITIES.get(notice.urgency, "R")
    fields[7] = _digits(notice.study_date) + _digits(notice.study_time)[:6]
    fields[22] = _moment(notice.flagged_at)
    fields[24] = "RAD"
    fields[25] = "P"
    return fields


def _observations(notice: Notice) -> Iterator[list[str]]:
    number = 1
    yield _observation(number, "ST", "113014^DICOM Study^DCM", notice.study_uid)
    for finding in notice.findings:
        number += 1
        yield _observation(number, "CWE", "121071^Finding^DCM", _meaning(finding), flag="A")
        if finding.score is not None:
            number += 1
            score = f"{finding.score:.3f}"
            yield _observation(number, "NM", "probability^Probability^99DICOMNODE", score)
    said = (
        f"Research use only, not for diagnosis. Not read by a person. Found by {notice.algorithm} "
        f"{notice.algorithm_version}, flagged {notice.urgency} by the rule {notice.rule}."
    )
    yield _observation(number + 1, "TX", "121106^Comment^DCM", _text(said))


def _observation(number: int, kind: str, about: str, value: str, flag: str = "") -> list[str]:
    return ["OBX", str(number), kind, about, "1", value, "", "", flag, "", "", "P"]


def _meaning(finding: NoticedFinding) -> str:
    if finding.code is None:
        return _coded("", finding.name, "")
    value, scheme, meaning = finding.code
    return _coded(value, meaning, scheme)


def _coded(value: str, meaning: str, scheme: str) -> str:
    return "^".join(_text(each) for each in (value, meaning, scheme)).rstrip("^")


def _text(value: str) -> str:
    """One value: separators escaped (2.7), line ends and other controls are blanks."""
    plain = _CONTROLS.sub(" ", value)
    return "".join(_ESCAPES.get(each, each) for each in plain)


def _digits(value: str) -> str:
    return re.sub(r"\D.*", "", value)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
