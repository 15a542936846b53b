"""HL7 v2 ORU^R01 messages: to reports, and the acknowledgement that goes back."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import hl7

from dicomnode.domain.errors import ReportError
from dicomnode.domain.incoming_reports import IncomingReport, ReportSource, ReportStatus
from dicomnode.domain.reports import ReportPart

# MSH-18 (HL7 table 0211) as Python names it.
CHARSETS = {
    "": "utf-8",
    "ASCII": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 5, 7, 9, 15)},
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "KS X 1001": "euc_kr",
    "GB 18030-2000": "gb18030",
}
# OBX-3: code or text -> name of a part, as the headings of the lexicon know it.
PART_NAMES = {
    "19005-8": "impression",
    "imp": "impression",
    "18782-3": "findings",
    "gdt": "findings",
    "18785-6": "indication",
    "18834-2": "comparison",
    "18783-1": "recommendation",
}
STATUSES = {
    "F": ReportStatus.FINAL,
    "C": ReportStatus.CORRECTED,
    "X": ReportStatus.CANCELLED,
    "D": ReportStatus.CANCELLED,
    "W": ReportStatus.CANCELLED,
}
TEXT_TYPES = frozenset({"TX", "FT", "ST", "CE", "CWE"})
_MSH = re.compile(rb"^MSH([^\r\n\w])")
_MOMENT = re.compile(r"^(\d{8})(\d{4}(?:\d{2})?)?(?:\.\d+)?([+-]\d{4})?$")


class NotOurMessage(ReportError):
    """A message that is no ORU^R01: answered AR, so that it is not sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the acknowledgement repeats of a message."""

    sender: str = ""
    facility: str = ""
    control_id: str = ""
    processing_id: str = "P"
    version: str = "2.5"


def read_message(data: bytes) -> tuple[Header, tuple[IncomingReport, ...]]:
    """The reports of an ORU^R01, one for each OBR.

    Raises:
        NotOurMessage: it is a message of another kind.
        ReportError: it cannot be read; the message names no value of it.
    """
    try:
        message = hl7.parse(_decoded(data))
        header = _header(message)
    except ReportError:
        raise
    # The library meets broken structure as any kind of error, and its words may quote the message.
    except Exception as exc:  # noqa: BLE001
        raise ReportError(f"the message cannot be read: {type(exc).__name__}") from None
    if _field(message, message[0], 9).split("^")[:2] != ["ORU", "R01"]:
        raise NotOurMessage("only ORU^R01 is taken")
    if not header.control_id:
        raise ReportError("the message has no control id (MSH-10)")
    reports = tuple(_reports(message, header))
    if not reports:
        raise ReportError("the message has no report: no OBR with an OBX of text")
    return header, reports


def header_of(data: bytes) -> Header:
    """What can be told of a message that cannot be read, for its acknowledgement."""
    match = _MSH.match(data)
    if not match:
        return Header()
    line = data.split(b"\r", 1)[0].split(b"\n", 1)[0].decode("latin-1")[:2000]
    fields = [*line.split(match.group(1).decode("latin-1")), *[""] * 12]
    return Header(
        sender=fields[2][:180],
        facility=fields[3][:180],
        control_id=fields[9][:199],
        processing_id=fields[10][:3] or "P",
        version=fields[11][:6] or "2.5",
    )


def acknowledgement(header: Header, code: str, words: str, now: datetime) -> bytes:
    """ACK^R01 with AA, AE or AR; `words` never quotes the message."""
    moment = now.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
    msh = (
        f"MSH|^~\\&|DICOMNODE||{header.sender}|{header.facility}|{moment}||ACK^R01^ACK|"
        f"{header.control_id}|{header.processing_id}|{header.version}"
    )
    return f"{msh}\rMSA|{code}|{header.control_id}|{words}\r".encode("utf-8", "replace")


def _decoded(data: bytes) -> str:
    match = _MSH.match(data)
    if not match:
        raise ReportError("it does not begin with MSH")
    fields = data.split(b"\r", 1)[0].split(match.group(1))
    # MSH-1 is the separator itself, so MSH-18 is the 17th after it.
    named = fields[17].decode("ascii", "replace").split("~")[0] if len(fields) > 17 else ""
    charset = CHARSETS.get(named.strip().upper())
    if charset is None:
        raise ReportError("its character set (MSH-18) is not known")
    text = _decode(data, charset, is_stated=bool(named.strip()))
    return text.replace("\r\n", "\r").replace("\n", "\r")


def _decode(data: bytes, charset: str, *, is_stated: bool) -> str:
    """Without a stated set, what is no UTF-8 is taken for Latin-1, as most such senders mean."""
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        if is_stated:
            raise
        return data.decode("latin-1")


def _header(message: hl7.Message) -> Header:
    msh = message[0]
    return Header(
        sender=_field(message, msh, 3),
        facility=_field(message, msh, 4),
        control_id=_field(message, msh, 10),
        processing_id=_field(message, msh, 11) or "P",
        version=_field(message, msh, 12) or "2.5",
    )


def _reports(message: hl7.Message, header: Header) -> Iterator[IncomingReport]:
    groups: list[tuple[hl7.Segment, list[hl7.Segment]]] = []
    for segment in message:
        name = str(segment[0])
        if name == "OBR":
            groups.append((segment, []))
        elif name == "OBX" and groups:
            groups[-1][1].append(segment)
    for number, (request, observations) in enumerate(groups, start=1):
        parts = _parts(message, observations)
        status = _status(message, request, observations)
        if parts or status is ReportStatus.CANCELLED:
            order = _only(message, "ORC")
            filler = _component(message, request, 3) or _component(message, order, 3)
            yield IncomingReport(
                source=ReportSource.HL7,
                source_id=filler or _component(message, request, 2),
                message_id=f"{header.sender}|{header.control_id}#{number}",
                parts=parts,
                status=status,
                issued_at=_moment(_field(message, request, 22))
                or _moment(_field(message, message[0], 7)),
                **_about(message, request),
            )


def _parts(message: hl7.Message, observations: Sequence[hl7.Segment]) -> tuple[ReportPart, ...]:
    joined: list[tuple[str, list[str]]] = []
    for segment in observations:
        if _field(message, segment, 2) not in TEXT_TYPES:
            continue
        name = _part_name(message, segment)
        if not joined or joined[-1][0] != name:
            joined.append((name, []))
        joined[-1][1].append(_text(message, segment))
    return tuple(ReportPart(name=name, text="\n".join(lines)) for name, lines in joined)


def _part_name(message: hl7.Message, segment: hl7.Segment) -> str:
    """By the code of OBX-3, its suffix (`&IMP`), or its text."""
    identifier = _field(message, segment, 3)
    code, *rest = identifier.split("^")
    known = (PART_NAMES.get(each.lower()) for each in re.split("&", code))
    text = rest[0].lower() if rest and rest[0] else ""
    return next((name for name in known if name), None) or text or "report"


def _text(message: hl7.Message, segment: hl7.Segment) -> str:
    """OBX-5; repetitions are lines, escape sequences what they stand for."""
    raw = str(segment[5]) if len(segment) > 5 else ""
    if _field(message, segment, 2) in {"CE", "CWE"}:
        code, *meaning = raw.split("^")
        raw = meaning[0] if meaning and meaning[0] else code
    lines = raw.replace("\\.br\\", "\r").replace("\\.sp\\", "\r").replace("~", "\r").split("\r")
    return "\n".join(str(message.unescape(line)) for line in lines)


def _status(
    message: hl7.Message, request: hl7.Segment, observations: Sequence[hl7.Segment]
) -> ReportStatus:
    stated = _field(message, request, 25) or next(
        (_field(message, each, 11) for each in observations if _field(message, each, 11)), ""
    )
    return STATUSES.get(stated, ReportStatus.PRELIMINARY)


def _about(message: hl7.Message, request: hl7.Segment) -> dict[str, str]:
    patient, visit = _only(message, "PID"), _only(message, "PV1")
    imaging, study = _only(message, "IPC"), _only(message, "ZDS")
    modality = _field(message, request, 24)
    return {
        "patient_id": _component(message, patient, 3),
        "patient_birth_date": _field(message, patient, 7)[:8],
        "patient_sex": _field(message, patient, 8)[:8],
        "accession_number": _component(message, imaging, 1)
        or _component(message, request, 18)
        or _component(message, request, 3),
        "study_uid": (_component(message, imaging, 3) or _component(message, study, 1))[:64],
        "study_date": _field(message, request, 7)[:8],
        "modality": modality if len(modality) == 2 else "",
        "referring_unit": _component(message, visit, 3),
    }


def _only(message: hl7.Message, name: str) -> hl7.Segment | None:
    return next((segment for segment in message if str(segment[0]) == name), None)


def _field(message: hl7.Message, segment: hl7.Segment | None, number: int) -> str:
    if segment is None or len(segment) <= number:
        return ""
    return str(message.unescape(str(segment[number]))).strip()


def _component(message: hl7.Message, segment: hl7.Segment | None, number: int) -> str:
    """The first component of the first repetition."""
    return re.split(r"[\^~]", _field(message, segment, number))[0]


def _moment(text: str) -> datetime | None:
    match = _MOMENT.match(text)
    if not match:
        return None
    day, clock, offset = match.groups()
    try:
        return datetime.strptime(f"{day}{clock or '':0<6}{offset or '+0000'}", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
