"""HL7 v2 ORU^R01 messages: to reports, and the acknowledgement that goes back.

A message holds patients (PID), each with orders (OBR), each with observations (OBX); what an
order says is filed under the patient and the visit that stand before it. Orders of one patient
with one number are one report.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dicomnode.domain.errors import ReportError
from dicomnode.domain.incoming_reports import ADDENDUM, IncomingReport, ReportSource, ReportStatus
from dicomnode.domain.notices import SENDER
from dicomnode.domain.reports import ReportPart
from dicomnode.receive.reports.hl7_segments import Segment, segments_of, text_of
from dicomnode.receive.reports.part_names import PART_NAMES

STUDY_UID_CODE = "113014"
"""DICOM Study, as a code of OBX-3; OBX-5 is the StudyInstanceUID."""
TEXT_TYPES = frozenset({"TX", "FT", "ST", "CE", "CWE", "CNE", "CF"})
CODED_TYPES = frozenset({"CE", "CWE", "CNE", "CF"})
# Of OBX-11 (HL7 table 0085).
AMENDED = frozenset({"A", "C"})
"""Observations that correct or add to a final one."""
WITHDRAWN = frozenset({"D", "W", "X"})
"""Observations that are deleted, were wrong, or could not be obtained: no text."""
OBSERVATION_STATUSES = frozenset("ABCDFINOPRSUVWX")
# OBR-24 (HL7 table 0074), where it says the same as a DICOM modality.
MODALITIES = {
    "CT": "CT",
    "MR": "MR",
    "NMR": "MR",
    "US": "US",
    "RUS": "US",
    "VUS": "US",
    "NM": "NM",
    "NMS": "NM",
    **{each: each for each in ("CR", "DX", "MG", "PT", "XA", "RF")},
}
ACCESSION_FIELDS = ("IPC-1", "OBR-18", "OBR-3")
"""Where the accession number is looked for, first come first."""

NOTHING = '""'
"""What stands for a deleted value (2.5.3.5)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOMENT = re.compile(r"(\d{8})(\d{4}(?:\d{2})?)?(?:\.\d{1,6})?([+-]\d{4})?")
_DAY = re.compile(r"\d{8}(?=$|[\d.+-])")


class NotOurMessage(ReportError):
    """A message that is no ORU^R01: answered AR, so that it is not sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the acknowledgement repeats of a message, byte for byte (as Latin-1)."""

    separators: str = "|^~\\&"
    sender: str = ""
    facility: str = ""
    control_id: str = ""
    processing_id: str = "P"
    version: str = "2.5"


@dataclass(slots=True, kw_only=True)
class _Order:
    """One ORDER_OBSERVATION group, and the patient and visit that it stands under."""

    patient: Segment | None
    visit: Segment | None
    order: Segment | None
    request: Segment
    observations: list[Segment] = field(default_factory=list)
    others: dict[str, Segment] = field(default_factory=dict)
    """The first IPC and ZDS."""

    def value(self, place: str) -> str:
        """First component of a field, e.g. `OBR-18`."""
        name, _, number = place.partition("-")
        segments = {
            "PID": self.patient,
            "PV1": self.visit,
            "ORC": self.order,
            "OBR": self.request,
            **self.others,
        }
        segment = segments.get(name)
        return segment.component(int(number)) if segment is not None else ""

    @property
    def number(self) -> str:
        """What the filler, or else the placer, calls the order."""
        return self.value("OBR-3") or self.value("ORC-3") or self.value("OBR-2")


def read_message(
    data: bytes, accession_fields: Sequence[str] = ACCESSION_FIELDS
) -> tuple[IncomingReport, ...]:
    """The reports of an ORU^R01.

    Raises:
        NotOurMessage: it is a message of another kind.
        ReportError: it cannot be read; the error names no value of it.
    """
    msh, *segments = segments_of(data.lstrip(b"\xef\xbb\xbf\0 \t\r\n"))
    if [*msh.components(9), "", ""][:2] != ["ORU", "R01"]:
        raise NotOurMessage("only ORU^R01 is taken")
    if msh.component(3) == SENDER:
        raise NotOurMessage("a notice of a node like this one is no report")
    if not msh.component(10):
        raise ReportError("the message has no control id (MSH-10)")
    reports = []
    for number, orders in enumerate(_one_report_each(_orders(segments)), start=1):
        report = _report(msh, orders, number, accession_fields)
        if report is not None:
            reports.append(report)
    if not reports:
        raise ReportError("the message has no report: no OBR with an OBX of text")
    return tuple(reports)


def header_of(data: bytes) -> Header:
    """What can be told of any message, readable or not, for its acknowledgement."""
    start = data.lstrip(b"\xef\xbb\xbf\0 \t\r\n")[:4000].decode("latin-1")
    match = re.match(r"MSH([^\w\x00-\x20])", start)
    if not match:
        return Header()
    separator = match.group(1)
    fields = [*re.split(r"[\r\n]", start, maxsplit=1)[0].split(separator, 60), *[""] * 12]
    encoding, sender, facility, control_id, processing_id, version = (
        _CONTROL.sub("", fields[number]) for number in (1, 2, 3, 9, 10, 11)
    )
    return Header(
        separators=separator + (encoding[:5] or Header().separators[1:]),
        sender=sender[:180],
        facility=facility[:180],
        control_id=control_id[:199],
        processing_id=processing_id[:3] or "P",
        version=version[:6] or "2.5",
    )


def acknowledgement(header: Header, code: str, words: str, now: datetime) -> bytes:
    """ACK^R01 with AA, AE or AR; `words` never quotes the message."""
    moment = now.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
    separator, component = header.separators[0], header.separators[1]
    msh = (
        "MSH",
        header.separators[1:],
        "DICOMNODE",
        "",
        header.sender,
        header.facility,
        moment,
        "",
        component.join(("ACK", "R01", "ACK")),
        header.control_id,
        header.processing_id,
        header.version,
    )
    plain = "".join(" " if each in header.separators else each for each in words)
    msa = ("MSA", code, header.control_id, plain)
    lines = (separator.join(msh), separator.join(msa), "")
    return "\r".join(lines).encode("latin-1", "replace")


def _orders(segments: Sequence[Segment]) -> Iterator[_Order]:
    """Each OBR with what belongs to it: PID and PV1 go before their orders, ORC before its OBR."""
    patient = visit = order = None
    others: dict[str, Segment] = {}
    present: _Order | None = None
    for segment in segments:
        match segment.name:
            case "PID":
                if present is not None:
                    yield present
                present = None
                patient, visit, order, others = segment, None, None, {}
            case "PV1":
                visit = segment
            case "ORC":
                order = segment
            case "OBR":
                if present is not None:
                    yield present
                present = _Order(
                    patient=patient, visit=visit, order=order, request=segment, others=others
                )
                order, others = None, {}
            case "OBX" if present is not None:
                present.observations.append(segment)
            case "IPC" | "ZDS":
                # Behind its OBR; before any, it is of the next one.
                is_next = present is None or order is not None
                target = others if is_next or present is None else present.others
                target.setdefault(segment.name, segment)
    if present is not None:
        yield present


def _one_report_each(orders: Iterator[_Order]) -> list[list[_Order]]:
    """Orders of one patient with one number together: sections may come as orders of their own."""
    reports: list[list[_Order]] = []
    known: dict[tuple[int, str], list[_Order]] = {}
    for order in orders:
        together = known.get((id(order.patient), order.number)) if order.number else None
        if together is None:
            together = known[(id(order.patient), order.number)] = []
            reports.append(together)
        together.append(order)
    return reports


def _report(
    msh: Segment, orders: Sequence[_Order], number: int, accession_fields: Sequence[str]
) -> IncomingReport | None:
    """The report of one or more orders; None if nothing of it was ever text."""
    observations = [each for order in orders for each in order.observations]
    texts = [each for each in observations if each.component(2) in TEXT_TYPES]
    if any(_is_cut(each) for each in texts):
        raise ReportError("OBX-11 is no status: is a separator in a text not escaped?")
    asserted = [each for each in texts if each.component(11).upper() not in WITHDRAWN]
    parts = _parts(each for each in asserted if _study_uid(each) is None)
    status = _status(orders, texts)
    if not parts and status is not ReportStatus.CANCELLED:
        return None
    sender = f"{msh.component(3)}|{msh.component(4)}"
    first = orders[0]
    return IncomingReport(
        source=ReportSource.HL7,
        source_id=f"{sender}|{first.number}" if first.number else "",
        message_id=f"{sender}|{msh.component(10)}#{number}",
        parts=parts,
        status=status,
        is_addendum=bool(parts) and all(part.name == ADDENDUM for part in parts),
        issued_at=_moment(first.request.component(22)) or _moment(msh.component(7)),
        **_about(first, observations, accession_fields),
    )


def _is_cut(segment: Segment) -> bool:
    """True if a separator that is not escaped seems to have cut the text and moved what follows.

    A text has no unit and no reference range (OBX-6 and 7).
    """
    status = segment.component(11).upper()
    is_moved = not status and bool(segment.component(6) or segment.component(7))
    return is_moved or status not in OBSERVATION_STATUSES | {""}


def _parts(observations: Iterator[Segment]) -> tuple[ReportPart, ...]:
    joined: list[tuple[str, list[str]]] = []
    for segment in observations:
        name = _part_name(segment)
        if not joined or joined[-1][0] != name:
            joined.append((name, []))
        joined[-1][1].append(_text(segment))
    parts = (ReportPart(name=name, text="\n".join(lines)) for name, lines in joined)
    return tuple(part for part in parts if part.text.strip())


def _part_name(segment: Segment) -> str:
    """By the code of OBX-3, its suffix (`&IMP`), or its text; what amends is an addendum."""
    first = segment.raw(3).split(segment.encoding.repetition, 1)[0]
    code, text = [*first.split(segment.encoding.component, 2), ""][:2]
    # The suffix says more than the code before it.
    for each in reversed(code.split(segment.encoding.subcomponent, 5)):
        if each.strip().lower() in PART_NAMES:
            return PART_NAMES[each.strip().lower()]
    read = text_of(text, segment.encoding).strip().lower()[:80]
    if segment.component(11).upper() == "A":
        return ADDENDUM
    return read or "report"


def _text(segment: Segment) -> str:
    """OBX-5; repetitions are lines, escape sequences what they stand for."""
    raw, encoding = segment.raw(5), segment.encoding
    if raw == NOTHING:
        return ""
    if segment.component(2) in CODED_TYPES:
        code, meaning = [*raw.split(encoding.component, 2), ""][:2]
        raw = meaning or code
    return text_of(raw.replace(encoding.repetition, "\n"), encoding)


def _study_uid(segment: Segment) -> str | None:
    if segment.component(3) != STUDY_UID_CODE:
        return None
    return segment.component(5) or None


def _status(orders: Sequence[_Order], texts: Sequence[Segment]) -> ReportStatus:
    """Of the order as OBR-25 says, else as its observations do; withdrawn when all of them are."""
    observed = {each.component(11).upper() for each in texts}
    stated = {order.request.component(25).upper() for order in orders} - {""}
    asserted = observed - WITHDRAWN - {""}
    if stated == {"X"} or (observed and observed <= WITHDRAWN):
        return ReportStatus.CANCELLED
    if "C" in stated or (asserted & AMENDED and asserted <= AMENDED | {"F"}):
        return ReportStatus.CORRECTED
    found = stated or asserted
    return ReportStatus.FINAL if found == {"F"} else ReportStatus.PRELIMINARY


def _about(
    order: _Order, observations: Sequence[Segment], accession_fields: Sequence[str]
) -> Mapping[str, str]:
    observed = (_study_uid(each) for each in observations)
    found = (order.value(place) for place in accession_fields)
    modality = order.others["IPC"].component(5) if "IPC" in order.others else ""
    day = order.value("OBR-7")
    return {
        "patient_id": _patient_id(order.patient),
        "patient_birth_date": _day(order.value("PID-7")),
        "patient_sex": order.value("PID-8"),
        "accession_number": next((each for each in found if each), ""),
        "study_uid": order.others["IPC"].component(3)
        if "IPC" in order.others and order.others["IPC"].component(3)
        else order.value("ZDS-1") or next((each for each in observed if each), ""),
        "study_date": _day(day),
        "modality": modality or MODALITIES.get(order.value("OBR-24").upper(), ""),
        "referring_unit": order.value("PV1-3"),
    }


def _patient_id(patient: Segment | None) -> str:
    """The medical record number of PID-3, else its first identifier."""
    if patient is None:
        return ""
    known = [each for each in patient.repetitions(3) if each[0]]
    typed = (each[0] for each in known if len(each) > 4 and each[4] == "MR")
    return next(typed, known[0][0] if known else patient.component(2))


def _day(text: str) -> str:
    """YYYYMMDD of a moment; what is none stays as it is, to be remarked on."""
    match = _DAY.match(text)
    return match.group() if match else text


def _moment(text: str) -> datetime | None:
    match = _MOMENT.fullmatch(text)
    if not match:
        return None
    day, clock, offset = match.groups()
    try:
        return datetime.strptime(f"{day}{clock or '':0<6}{offset or '+0000'}", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
