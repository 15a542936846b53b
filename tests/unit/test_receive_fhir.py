"""FHIR DiagnosticReports become reports; what is not read is said, and nothing is fetched."""

import base64
import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.domain.errors import ReportError
from dicomnode.domain.incoming_reports import IncomingReport, ReportStatus
from dicomnode.receive.reports.fhir import STATUSES, read_report
from dicomnode.receive.reports.fhir_bundle import ReportBundle, read_bundle
from dicomnode.receive.reports.fhir_json import MOST_VALUES, NotFhir, Resource, parsed
from dicomnode.receive.reports.narrative import NotXhtml, plain_text

Json = dict[str, object]

ACCESSION = {"type": {"coding": [{"code": "ACSN"}]}, "value": "A1"}
PATIENT: Json = {
    "resourceType": "Patient",
    "id": "p",
    "identifier": [
        {"type": {"coding": [{"code": "SS"}]}, "value": "999"},
        {"type": {"coding": [{"code": "MR"}]}, "value": "P1"},
    ],
    "birthDate": "1950-01-02",
    "gender": "female",
}
STUDY: Json = {
    "resourceType": "ImagingStudy",
    "id": "s",
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    "modality": [{"code": "CT"}],
}


def diagnostic(**more: object) -> Json:
    return {
        "resourceType": "DiagnosticReport",
        "id": "d1",
        "identifier": [ACCESSION, {"system": "urn:ris", "value": "R7"}],
        "status": "final",
        "subject": {"reference": "#p"},
        "effectiveDateTime": "2024-01-31T23:30:00-05:00",
        "issued": "2024-02-01T10:00:00Z",
        "imagingStudy": [{"reference": "#s"}],
        "contained": [PATIENT, STUDY],
        "conclusion": "Small effusion.",
        **more,
    }


def form(words: str, kind: str = "text/plain", charset: str = "utf-8") -> Json:
    data = base64.b64encode(words.encode(charset)).decode()
    return {"contentType": kind, "data": data}


def read(resource: Json, named: str = "") -> IncomingReport:
    return read_report(Resource(resource), sender="ris", named=named).report


def texts(resource: Json) -> list[tuple[str, str]]:
    return [(part.name, part.text) for part in read(resource).parts]


def observation(number: str, words: str, code: str = "18782-3", status: str = "final") -> Json:
    return {
        "resourceType": "Observation",
        "id": number,
        "status": status,
        "code": {"coding": [{"system": "http://loinc.org", "code": code}], "text": "Heart"},
        "valueString": words,
    }


def test_a_report_says_who_when_and_what() -> None:
    report = read(diagnostic())
    assert (report.patient_id, report.patient_birth_date, report.patient_sex) == (
        "P1",
        "19500102",
        "F",
    )
    assert (report.accession_number, report.study_uid, report.modality) == ("A1", "1.2.3", "CT")
    # The day where the patient was, not that of UTC.
    assert report.study_date == "20240131"
    assert report.issued_at == datetime(2024, 2, 1, 10, tzinfo=UTC)
    assert report.source_id == "urn:ris|R7"
    assert [(part.name, part.text) for part in report.parts] == [("conclusion", "Small effusion.")]
    assert report.remarks == ""


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_of_the_standard_is_known(status: str) -> None:
    is_withdrawn = status in {"cancelled", "entered-in-error"}
    report = read(diagnostic(status=status))
    assert (report.status is ReportStatus.CANCELLED) is is_withdrawn


def test_amended_is_corrected_and_what_is_withdrawn_needs_no_text() -> None:
    assert read(diagnostic(status="amended")).status is ReportStatus.CORRECTED
    assert read(diagnostic(status="entered-in-error", conclusion=None)).parts == ()
    with pytest.raises(NotFhir, match="status"):
        read(diagnostic(status="done"))


def test_whole_texts_come_before_observations_and_a_conclusion_is_not_said_twice() -> None:
    whole = form("FINDINGS: Clear lungs.\nIMPRESSION: Small  effusion.")
    contained = [PATIENT, STUDY, observation("o1", "Heart normal.")]
    result = [{"reference": "#o1"}, {"reference": "Observation/elsewhere"}]
    report = read(diagnostic(presentedForm=[whole], result=result, contained=contained))
    assert [part.name for part in report.parts] == ["report", "findings"]
    assert report.remarks == "a result is not in what was sent"


def test_observations_are_named_and_withdrawn_ones_left_out() -> None:
    contained = [
        observation("o1", "Heart normal.", code="x"),
        observation("o2", "Wrong.", status="entered-in-error"),
    ]
    result = [{"reference": "#o1"}, {"reference": "#o2"}]
    found = texts(diagnostic(contained=contained, result=result, conclusion="Normal."))
    assert found == [("heart", "Heart normal."), ("conclusion", "Normal.")]


def test_the_narrative_is_read_where_there_is_nothing_else() -> None:
    div = (
        '<div xmlns="http://www.w3.org/1999/xhtml"><h2>Findings</h2><p>Heart &lt; 50&#160;%.</p>'
        "<ul><li>No<b> effusion</b>.</li><li>Mass&nbsp;4&#160;mm</li></ul><style>p{}</style></div>"
    )
    narrative = {"status": "generated", "div": div}
    assert texts(diagnostic(text=narrative)) == [("conclusion", "Small effusion.")]
    assert texts(diagnostic(text=narrative, conclusion="")) == [
        ("report", "Findings\nHeart < 50 %.\nNo effusion.\nMass 4 mm")
    ]


@pytest.mark.parametrize(
    "xhtml",
    [
        '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><div>&b;</div>',
        "<div><p></div>",
        "<div>&nosuch;</div>",
        "no element",
    ],
)
def test_a_narrative_that_is_not_plain_xhtml_is_not_read(xhtml: str) -> None:
    with pytest.raises(NotXhtml):
        plain_text(xhtml)


@pytest.mark.parametrize(
    ("kind", "charset", "words"),
    [
        ("text/plain", "utf-8", "Größe 胸水"),
        ("text/plain; charset=iso-8859-1", "latin-1", "Größe"),
        ('text/plain;charset="Shift_JIS"', "shift_jis", "胸水なし"),
        ("Text/Plain", "utf-8-sig", "Größe"),
    ],
)
def test_character_sets_of_attachments_are_followed(kind: str, charset: str, words: str) -> None:
    presented = diagnostic(presentedForm=[form(words, kind, charset)], conclusion="")
    assert texts(presented) == [("report", words)]


def test_what_is_no_text_is_remarked_on_and_not_fetched() -> None:
    forms = [form("%PDF", "application/pdf"), {"contentType": "text/plain", "url": "http://x/"}]
    assert read(diagnostic(presentedForm=forms)).remarks == (
        "a presentedForm is no text and was not read; a presentedForm without data was not fetched"
    )
    with pytest.raises(NotFhir, match="no text"):
        read(diagnostic(presentedForm=forms, conclusion=""))


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"conclusion": 7}, "conclusion is not a string"),
        ({"identifier": {"value": "x"}}, "identifier is not a list"),
        ({"subject": ["x"]}, "subject is not an object"),
        ({"presentedForm": [{"contentType": "text/plain", "data": "*"}]}, "not base64"),
        ({"presentedForm": [form("x", "text/plain; charset=punycode")]}, "character set"),
        ({"id": "no id/"}, "id is not an id"),
    ],
)
def test_what_is_wrong_is_named_and_not_quoted(more: Json, fault: str) -> None:
    with pytest.raises(NotFhir, match=fault):
        read(diagnostic(**more))


def test_names_of_several_senders_are_kept_apart_unless_they_have_a_name_space() -> None:
    bare = Resource(diagnostic(identifier=[ACCESSION]))
    names = {read_report(bare, sender=each).report.source_id for each in ("a", "b")}
    assert names == {"a|id:d1", "b|id:d1"}
    owned = Resource(diagnostic())
    assert len({read_report(owned, sender=each).report.source_id for each in ("a", "b")}) == 1


def test_what_has_no_name_can_be_updated_by_the_id_it_is_given() -> None:
    nameless = Resource(diagnostic(identifier=[], id=None))
    first = read_report(nameless, sender="a")
    again = read_report(nameless, sender="a", named=first.id)
    assert again.report.source_id == first.report.source_id
    with pytest.raises(NotFhir, match="address"):
        read(diagnostic(), named="d2")


def bundle(kind: str, *resources: Json) -> ReportBundle:
    entries = [
        {"fullUrl": f"urn:uuid:{number}", "resource": each} for number, each in enumerate(resources)
    ]
    return read_bundle(
        Resource({"resourceType": "Bundle", "type": kind, "entry": entries}), sender="a"
    )


def test_a_bundle_resolves_references_by_address_and_by_type() -> None:
    report = diagnostic(
        contained=[],
        subject={"reference": "Patient/p"},
        imagingStudy=[{"reference": "urn:uuid:1"}],
        result=[{"reference": "http://server/fhir/Observation/o1"}],
    )
    read = bundle("batch", PATIENT, STUDY, observation("o1", "Clear."), report)
    assert [each.report is not None for each in read.entries] == [False, False, False, True]
    (last,) = [each.report.report for each in read.entries if each.report]
    assert (last.patient_id, last.study_uid, len(last.parts)) == ("P1", "1.2.3", 2)


def test_one_fault_refuses_a_transaction_but_not_a_batch() -> None:
    resources = (diagnostic(), diagnostic(status="done"))
    assert [bool(each.fault) for each in bundle("batch", *resources).entries] == [False, True]
    with pytest.raises(NotFhir, match="entry 1: status"):
        bundle("transaction", *resources)
    with pytest.raises(NotFhir, match="no DiagnosticReport"):
        bundle("batch", PATIENT)
    with pytest.raises(NotFhir, match="type"):
        bundle("searchset", diagnostic())


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b"{}", b"[]", b"7", b"\xff", b"{" + b'"a":[{}],' * MOST_VALUES, b"1" * 9999],
)
def test_what_is_no_report_costs_little_and_says_so(body: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(NotFhir):
        read_report(parsed(body), sender="a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["reference", "coding", "value", "code", "div"]), inner)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "status",
        "conclusion",
        "subject",
        "result",
        "contained",
        "identifier",
        "presentedForm",
        "imagingStudy",
        "basedOn",
        "text",
        "issued",
        "effectiveDateTime",
        "effectivePeriod",
        "meta",
    ]
)


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_is_read_or_refused_in_our_own_words(odd: Json) -> None:
    body = json.dumps(diagnostic(**odd, note="Sarcoidosis")).encode()
    fault = ""
    try:
        read_report(parsed(body), sender="a")
    except ReportError as exc:
        fault = str(exc)
    assert "Sarcoidosis" not in fault


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(NotFhir):
        read_report(parsed(noise), sender="a")
