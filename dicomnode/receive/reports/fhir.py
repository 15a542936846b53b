"""FHIR R4 DiagnosticReport: to reports, alone or in a Bundle.

Only what is read is checked. Nothing is fetched: attachments and references that point to another
server are left alone.
"""

import base64
import binascii
import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from dicomnode.domain.incoming_reports import IncomingReport, ReportSource, ReportStatus
from dicomnode.domain.reports import ReportPart
from dicomnode.receive.reports.fhir_json import NotFhir, Resource, codes, kind_of, many, one, text
from dicomnode.receive.reports.narrative import NotXhtml, plain_text
from dicomnode.receive.reports.part_names import PART_NAMES

REPORT = "DiagnosticReport"
STATUSES = {
    "registered": ReportStatus.PRELIMINARY,
    "partial": ReportStatus.PRELIMINARY,
    "preliminary": ReportStatus.PRELIMINARY,
    "unknown": ReportStatus.PRELIMINARY,
    "final": ReportStatus.FINAL,
    "amended": ReportStatus.CORRECTED,
    "corrected": ReportStatus.CORRECTED,
    "appended": ReportStatus.CORRECTED,
    "cancelled": ReportStatus.CANCELLED,
    "entered-in-error": ReportStatus.CANCELLED,
}
WITHDRAWN = frozenset({"cancelled", "entered-in-error"})
SEXES = {"male": "M", "female": "F", "other": "O"}
CHARSETS = ("utf-8", "utf-16", "ascii", "iso8859", "cp125", "shift_jis", "euc", "gb", "big5")
"""Beginnings of Python's names; not every codec it has is one of text, or quick."""
DICOM_UID = "urn:dicom:uid"
OID = "urn:oid:"
MOST_REFERENCES = 500
"""Followed from one report."""
READS = (
    "conclusion, presentedForm (text/plain, application/xhtml+xml), result (valueString), narrative"
)

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:$|T)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FhirReport:
    """A report and the id by which its sender may name it from now on."""

    id: str
    report: IncomingReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The other resources of a Bundle, by every name that a reference may use."""

    by_name: Mapping[str, Resource] = field(default_factory=dict)

    def find(self, reference: Resource, contained: Mapping[str, Resource]) -> Resource:
        """What a Reference points to; empty if it is not here."""
        name = text(reference, "reference")
        if name.startswith("#"):
            return contained.get(name[1:], Resource({}))
        local = "/".join(name.split("/")[-2:])
        return self.by_name.get(name) or self.by_name.get(local) or Resource({})


def beside(entries: Sequence[Resource]) -> Beside:
    """Index the entries of a Bundle."""
    found: dict[str, Resource] = {}
    for entry in entries:
        resource = one(entry, "resource")
        names = (text(entry, "fullUrl"), f"{kind_of(resource)}/{text(resource, 'id')}")
        found |= {name: resource for name in names if name.strip("/")}
    return Beside(by_name=found)


def read_report(
    resource: Resource, others: Beside = Beside(), *, sender: str, named: str = ""
) -> FhirReport:
    """The report in a DiagnosticReport. `sender` keeps the ids of several senders apart.

    `named`: the id in the address of an update.

    Raises:
        NotFhir: it cannot be read; the message names places and no value.
    """
    if kind_of(resource) != REPORT:
        raise NotFhir(f"the resource is not a {REPORT}")
    stated = text(resource, "id")
    if named and stated and named != stated:
        raise NotFhir("id is not that of the address")
    if (named or stated) and not _ID.fullmatch(named or stated):
        raise NotFhir("id is not an id")
    status = STATUSES.get(text(resource, "status"))
    if status is None:
        raise NotFhir(f"status is none of {', '.join(STATUSES)}")
    reader = _Reader(resource, others)
    parts = reader.parts()
    if not parts and status is not ReportStatus.CANCELLED:
        raise NotFhir(f"no text is in what is read: {READS}")
    about = reader.about()
    known, name = _name(resource, sender, named or stated, parts)
    version = text(one(resource, "meta"), "versionId")
    return FhirReport(
        id=known,
        report=IncomingReport(
            source=ReportSource.FHIR,
            source_id=name,
            message_id=f"{name}#{version}" if version else "",
            parts=parts,
            status=status,
            issued_at=_moment(text(resource, "issued")),
            is_addendum=False,
            remarks="; ".join(dict.fromkeys(reader.remarks)),
            **about,
        ),
    )


def _name(
    resource: Resource, sender: str, known: str, parts: Sequence[ReportPart]
) -> tuple[str, str]:
    """(id for the sender, name of the report in all its versions).

    By its own identifier, which has a name space; else by its id at the sender; else by its
    content.
    """
    for each in many(resource, "identifier"):
        value, system = text(each, "value"), text(each, "system")
        if value and not _is_accession(each):
            name = f"{system or sender}|{value}"
            return known or sha256(name.encode("utf-8", "replace")).hexdigest()[:32], name
    if not known:
        words = "\0".join((sender, *(piece for each in parts for piece in (each.name, each.text))))
        known = sha256(words.encode("utf-8", "replace")).hexdigest()[:32]
    return known, f"{sender}|id:{known}"


class _Reader:
    """Reads one report; notes what is odd."""

    def __init__(self, resource: Resource, others: Beside) -> None:
        self.remarks: list[str] = []
        self._resource = resource
        self._others = others
        self._contained = {text(each, "id"): each for each in many(resource, "contained")}

    def parts(self) -> tuple[ReportPart, ...]:
        """Whole texts, observations, the conclusion; the narrative where there is nothing else."""
        found = [*self._forms(), *self._observations()]
        conclusion = text(self._resource, "conclusion")
        # A form is most often the whole report, its conclusion too.
        if conclusion.strip() and not any(_flat(conclusion) in _flat(each.text) for each in found):
            found.append(ReportPart(name="conclusion", text=conclusion))
        return tuple(found) or tuple(self._narrative())

    def _forms(self) -> Iterator[ReportPart]:
        for each in many(self._resource, "presentedForm"):
            kind, _, rest = text(each, "contentType").partition(";")
            kind = kind.strip().lower()
            if kind not in {"text/plain", "text/html", "application/xhtml+xml"}:
                self.remarks.append("a presentedForm is no text and was not read")
                continue
            if not text(each, "data"):
                self.remarks.append("a presentedForm without data was not fetched")
                continue
            words = self._decoded(text(each, "data"), rest)
            if words and kind != "text/plain":
                words = self._plain(words)
            if words.strip():
                yield ReportPart(name="report", text=words)

    def _decoded(self, data: str, parameters: str) -> str:
        match = re.search(r"charset\s*=\s*\"?([\w.:-]{1,40})", parameters, re.IGNORECASE)
        try:
            raw = base64.b64decode("".join(data.split()), validate=True)
            charset = codecs.lookup(match[1]).name if match else "utf-8"
            if not charset.startswith(CHARSETS):
                raise NotFhir("presentedForm is in a character set that is not known")
            return raw.decode(charset).removeprefix("\ufeff")
        except UnicodeDecodeError:
            self.remarks.append("a presentedForm is not in its character set; read as Latin-1")
            return raw.decode("latin-1")
        except LookupError:
            raise NotFhir("presentedForm is in a character set that is not known") from None
        # ValueError: characters beyond ASCII.
        except (binascii.Error, ValueError):
            raise NotFhir("presentedForm.data is not base64") from None

    def _observations(self) -> Iterator[ReportPart]:
        for number, reference in enumerate(many(self._resource, "result")):
            if number >= MOST_REFERENCES:
                raise NotFhir(f"result has more than {MOST_REFERENCES} references")
            observation = self._others.find(reference, self._contained)
            if not observation:
                self.remarks.append("a result is not in what was sent")
            elif text(observation, "status") not in WITHDRAWN:
                for each in (observation, *many(observation, "component")):
                    if text(each, "valueString").strip():
                        yield ReportPart(name=_part_name(each), text=text(each, "valueString"))

    def _narrative(self) -> Iterator[ReportPart]:
        narrative = one(self._resource, "text")
        if text(narrative, "status") != "empty" and text(narrative, "div"):
            words = self._plain(text(narrative, "div"))
            if words:
                yield ReportPart(name="report", text=words)

    def _plain(self, xhtml: str) -> str:
        try:
            return plain_text(xhtml)
        except NotXhtml as exc:
            self.remarks.append(str(exc))
            return ""

    def about(self) -> dict[str, str]:
        """What is stated beside the text."""
        period = text(one(self._resource, "effectivePeriod"), "start")
        day = _DAY.match(text(self._resource, "effectiveDateTime") or period)
        studies = [*self._followed("imagingStudy")]
        uids = list(dict.fromkeys(uid for each in studies if (uid := _study_uid(each))))
        if len(uids) > 1:
            self.remarks.append(f"it names {len(uids)} studies and is of the first")
        modalities = {
            text(each, "code") for study in studies for each in many(study, "modality")
        } - {""}
        return {
            **self._patient(),
            "accession_number": self._accession(studies),
            "study_uid": uids[0] if uids else "",
            "study_date": "".join(day.groups()) if day else "",
            "modality": modalities.pop() if len(modalities) == 1 else "",
        }

    def _followed(self, name: str) -> Iterator[Resource]:
        """The references of a list, each followed by what it points to, if that is here."""
        for number, reference in enumerate(many(self._resource, name)):
            if number >= MOST_REFERENCES:
                raise NotFhir(f"{name} has more than {MOST_REFERENCES} references")
            yield Resource({"identifier": [one(reference, "identifier")]})
            yield self._others.find(reference, self._contained)

    def _patient(self) -> dict[str, str]:
        subject = one(self._resource, "subject")
        patient = self._others.find(subject, self._contained)
        known = [each for each in many(patient, "identifier") if text(each, "value")]
        known += [one(subject, "identifier")]
        records = [each for each in known if _is_of_type(each, "MR")]
        chosen = text((records or known)[0], "value")
        if not chosen:
            self.remarks.append("the subject has no identifier here")
        return {
            "patient_id": chosen,
            "patient_birth_date": text(patient, "birthDate").replace("-", ""),
            "patient_sex": SEXES.get(text(patient, "gender"), ""),
        }

    def _accession(self, studies: Sequence[Resource]) -> str:
        for holder in (self._resource, *self._followed("basedOn"), *studies):
            for each in many(holder, "identifier"):
                if _is_accession(each) and text(each, "value"):
                    return text(each, "value").strip()
        return ""


def _is_accession(identifier: Resource) -> bool:
    return _is_of_type(identifier, "ACSN")


def _is_of_type(identifier: Resource, code: str) -> bool:
    return any(each == code for _, each, _ in codes(one(identifier, "type")))


def _study_uid(holder: Resource) -> str:
    """StudyInstanceUID among the identifiers of an ImagingStudy (R4 ImagingStudy.identifier)."""
    for each in many(holder, "identifier"):
        value = text(each, "value").strip()
        if value.startswith(OID):
            return value.removeprefix(OID)
        if value and text(each, "system") == DICOM_UID:
            return value
    return ""


def _part_name(observation: Resource) -> str:
    concept = one(observation, "code")
    for _, code, _ in codes(concept):
        if code.lower() in PART_NAMES:
            return PART_NAMES[code.lower()]
    shown = text(concept, "text") or next((each for _, _, each in codes(concept) if each), "")
    return shown.strip().lower()[:80] or "report"


def _flat(words: str) -> str:
    return " ".join(words.split())


def _moment(stated: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(stated)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
