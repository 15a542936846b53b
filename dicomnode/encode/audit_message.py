"""An entry of the audit trail as an audit message of PS3.15 A.5 in a line of RFC 5424."""

import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

from dicomnode.domain.audit import AuditEntry

# Facility 10 (security), severity 5 (notice); PS3.15 A.6 leaves both to the sender.
_PRIORITY = 10 * 8 + 5
_MESSAGE_ID = "DICOM+RFC3881"
# One datagram of UDP holds 65,507 bytes.
_LARGEST_DETAILS = 30_000
_LONGEST_NAME = 500
_CONTROLS = re.compile("[^\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_NOT_PRINTABLE = re.compile("[^\\x21-\\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Who sends."""

    ae_title: str
    host: str
    process_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Event ID of CID 400, and EventActionCode."""

    code: str
    meaning: str
    action: str


_ACTIVITY = _Kind(code="110100", meaning="Application Activity", action="E")
# By the beginning of `Deed.what`; the first that fits.
_KINDS = (
    ("audit.", _Kind(code="110101", meaning="Audit Log Used", action="R")),
    ("study.images-removed", _Kind(code="110105", meaning="DICOM Study Deleted", action="D")),
    ("study.", _Kind(code="110103", meaning="DICOM Instances Accessed", action="R")),
    ("result.read", _Kind(code="110103", meaning="DICOM Instances Accessed", action="R")),
    ("overlay.", _Kind(code="110103", meaning="DICOM Instances Accessed", action="R")),
    ("lesions.", _Kind(code="110103", meaning="DICOM Instances Accessed", action="R")),
    ("report.read", _Kind(code="110110", meaning="Patient Record", action="R")),
    ("export.", _Kind(code="110106", meaning="Export", action="R")),
    ("question.", _Kind(code="110112", meaning="Query", action="E")),
    ("login", _Kind(code="110114", meaning="User Authentication", action="E")),
    ("access.refused", _Kind(code="110113", meaning="Security Alert", action="E")),
    ("account.", _Kind(code="110113", meaning="Security Alert", action="E")),
    ("token.", _Kind(code="110113", meaning="Security Alert", action="E")),
)


def syslog_line(entry: AuditEntry, source: AuditSource) -> bytes:
    """RFC 5424, ASCII: header, no structured data, the message's XML."""
    moment = entry.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    host = _NOT_PRINTABLE.sub("", source.host)[:255] or "-"
    header = f"<{_PRIORITY}>1 {moment} {host} dicomnode {source.process_id} {_MESSAGE_ID} - "
    return header.encode("ascii") + audit_message(entry, source)


def audit_message(entry: AuditEntry, source: AuditSource) -> bytes:
    """The XML, with the entry's own values and its hash, and nothing else."""
    deed = entry.deed
    root = Element("AuditMessage")
    _event(root, deed.what, entry.at)
    actor = SubElement(root, "ActiveParticipant")
    # Nobody logged in: the node itself, or whoever called it.
    actor.set("UserID", _clean(deed.who) or source.ae_title)
    actor.set("UserIsRequestor", "true")
    if deed.address:
        actor.set("NetworkAccessPointID", _clean(deed.address))
        actor.set("NetworkAccessPointTypeCode", "2" if _is_ip(deed.address) else "1")
    origin = SubElement(root, "AuditSourceIdentification")
    origin.set("AuditSourceID", source.ae_title)
    # 4: application server process.
    SubElement(origin, "AuditSourceTypeCode", {"csd-code": "4"})
    _object(root, entry)
    return tostring(root, encoding="us-ascii")


def _event(root: Element, what: str, at: datetime) -> None:
    kind = next((one for start, one in _KINDS if what.startswith(start)), _ACTIVITY)
    event = SubElement(root, "EventIdentification")
    event.set("EventActionCode", kind.action)
    event.set("EventDateTime", at.astimezone(UTC).isoformat(timespec="milliseconds"))
    # 0: success; 4: minor failure, as a wrong password is.
    event.set("EventOutcomeIndicator", "4" if what.endswith(".refused") else "0")
    _coded(event, "EventID", kind.code, "DCM", kind.meaning)
    _coded(event, "EventTypeCode", _clean(what), "dicomnode", _clean(what))


def _object(root: Element, entry: AuditEntry) -> None:
    deed = entry.deed
    item = SubElement(root, "ParticipantObjectIdentification")
    item.set("ParticipantObjectID", _clean(deed.on) or str(entry.id))
    item.set("ParticipantObjectTypeCode", "2")
    if deed.what.startswith("study."):
        item.set("ParticipantObjectTypeCodeRole", "3")
        _coded(item, "ParticipantObjectIDTypeCode", "110180", "DCM", "Study Instance UID")
    else:
        kind = _clean(deed.what.partition(".")[0])
        _coded(item, "ParticipantObjectIDTypeCode", kind, "dicomnode", kind)
    SubElement(item, "ParticipantObjectName").text = _clean(deed.on) or str(entry.id)
    details = {"entry": str(entry.id), "hash": entry.hash}
    facts = {_clean(name): str(value) for name, value in deed.facts.items()}
    if sum(len(value.encode()) for value in facts.values()) <= _LARGEST_DETAILS:
        details |= facts
    for name, value in details.items():
        encoded = b64encode(value.encode()).decode("ascii")
        SubElement(item, "ParticipantObjectDetail", {"type": name, "value": encoded})


def _coded(parent: Element, tag: str, code: str, system: str, meaning: str) -> None:
    values = {"csd-code": code, "codeSystemName": system, "originalText": meaning}
    SubElement(parent, tag, values)


def _clean(text: str) -> str:
    """What XML may hold, and not without end: names are also what strangers type."""
    return _CONTROLS.sub("", text)[:_LONGEST_NAME]


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
