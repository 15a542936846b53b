"""FHIR by REST: kept in one commit with the audit trail, answered by OperationOutcomes."""

from pathlib import Path

import pytest
from sqlalchemy import text

from dicomnode.domain.access import Role
from dicomnode.receive.reports.fhir_json import LARGEST
from tests.unit.test_receive_fhir import PATIENT, Json, diagnostic
from tests.unit.web_site import Site

FHIR = {"Content-Type": "application/fhir+json"}
PATH = "/fhir/DiagnosticReport"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def rows(site: Site, query: str) -> list[tuple[object, ...]]:
    with site.database.reading() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def words(answer: Json) -> str:
    assert answer["resourceType"] == "OperationOutcome"
    issues = answer["issue"]
    assert isinstance(issues, list)
    return "; ".join(each["diagnostics"] for each in issues)


def test_a_report_is_kept_updated_and_withdrawn(site: Site) -> None:
    program = site.program(Role.READER)
    made = program.post(PATH, json=diagnostic(), headers=FHIR)
    assert made.status_code == 201, made.text
    assert made.headers["Location"] == f"http://127.0.0.1{PATH}/d1/_history/1"
    assert made.headers["Content-Type"] == "application/fhir+json"
    again = program.post(PATH, json=diagnostic(), headers=FHIR)
    assert (again.status_code, words(again.json())) == (200, "report 1: there already")
    amended = diagnostic(status="amended", conclusion="Large effusion.")
    program.put(f"{PATH}/d1", json=amended, headers=FHIR)
    program.put(f"{PATH}/d1", json=diagnostic(status="entered-in-error"), headers=FHIR)
    assert rows(site, "SELECT number, status, is_current FROM report ORDER BY id") == [
        (1, "final", 0),
        (2, "corrected", 0),
        (3, "cancelled", 1),
    ]
    assert (
        rows(site, "SELECT who, what FROM audit WHERE what = 'report.sent'")
        == [("reader", "report.sent")] * 4
    )


def test_a_bundle_answers_for_each_entry(site: Site) -> None:
    entries = [{"resource": each} for each in (PATIENT, diagnostic(), diagnostic(status="done"))]
    sent = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    answer = site.program(Role.READER).post("/fhir", json=sent, headers=FHIR)
    assert answer.status_code == 200
    content = answer.json()
    assert content["type"] == "batch-response"
    statuses = [each["response"]["status"][:3] for each in content["entry"]]
    assert statuses == ["202", "201", "422"]
    assert rows(site, "SELECT count(*) FROM report") == [(1,)]


def test_a_transaction_with_a_fault_keeps_nothing(site: Site) -> None:
    entries = [{"resource": each} for each in (diagnostic(), diagnostic(status="done"))]
    sent = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = site.program(Role.READER).post("/fhir", json=sent, headers=FHIR)
    assert answer.status_code == 422
    assert words(answer.json()).startswith("entry 1: status is none of")
    assert rows(site, "SELECT count(*) FROM report") == [(0,)]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/fhir+json", 422),
        (b"not JSON", "application/json", 422),
        (b"{}", "application/fhir+xml", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b" " * (LARGEST + 1), "application/fhir+json", 413),
    ],
)
def test_what_cannot_be_taken_says_why(site: Site, body: bytes, kind: str, status: int) -> None:
    program = site.program(Role.READER)
    answer = program.post(PATH, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert words(answer.json())
    assert rows(site, "SELECT count(*) FROM report") == [(0,)]


def test_only_who_may_read_reports_may_send_them(site: Site) -> None:
    answer = site.browser().post(PATH, json=diagnostic(), headers=FHIR)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert words(answer.json()) == "log in first"
    answer = site.program(Role.VIEWER).post(PATH, json=diagnostic(), headers=FHIR)
    assert answer.status_code == 403
    assert "role reader" in words(answer.json())


def test_an_odd_value_is_a_warning(site: Site) -> None:
    odd = diagnostic(effectiveDateTime=None, identifier=[], subject={})
    answer = site.program(Role.READER).post(PATH, json=odd, headers=FHIR)
    assert (answer.status_code, words(answer.json())) == (
        201,
        "report 1: kept; the subject has no identifier here",
    )


def test_what_it_can_do_is_told(site: Site) -> None:
    answer = site.program(Role.VIEWER).get("/fhir/metadata")
    assert answer.json()["resourceType"] == "CapabilityStatement"
