"""The REST API: the same answers as the pages, and never a fault of ours."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as rules
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, openapi
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.settings import Destination, Settings
from dicomnode.store.audit import AuditSearch, audit_entries
from tests.contract.store_scenes import STUDY, at, finished_job, receive
from tests.unit.web_site import HOME, Site

FEW = rules(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, settings=Settings(destinations=(PACS,)))
    yield made
    made.database.dispose()


@pytest.fixture
def admin(site: Site) -> TestClient:
    return site.program(Role.ADMIN)


def test_studies_come_in_pages(site: Site, admin: TestClient) -> None:
    for number in range(5):
        which = [f"1.2.{number}.1.1"]
        receive(site.database, which, association=f"a{number}", moment=at(number))
    seen: list[str] = []
    before = ""
    while True:
        answer = admin.get("/api/v1/studies", params={"limit": 2, "before": before}).json()
        seen += [one["study_uid"] for one in answer["studies"]]
        before = answer["next"]
        if not before:
            break
    assert seen == [f"1.2.{number}" for number in (4, 3, 2, 1, 0)]


def test_a_study_is_told_with_jobs_results_and_deliveries(site: Site, admin: TestClient) -> None:
    job = finished_job(site.database)
    (line,) = admin.get("/api/v1/studies?state=working&text=chest").json()["studies"]
    assert (line["state"], line["jobs"]) == ("working", {"succeeded": 1})
    told = admin.get(f"/api/v1/studies/{STUDY}").json()
    assert [one["id"] for one in told["jobs"]] == [job.id]
    assert admin.get(f"/api/v1/jobs/{job.id}").json() == told["jobs"][0]
    results = admin.get(f"/api/v1/studies/{STUDY}/results").json()
    assert {one["kind"] for one in results} == {"SEG", "SR"}
    deliveries = admin.get("/api/v1/deliveries").json()
    assert {one["destination"] for one in deliveries} == {"pacs", "archive"}
    last = deliveries[1]["number"]
    assert len(admin.get(f"/api/v1/deliveries?after={last}").json()) == 2
    events = admin.get("/api/v1/events?name=job.succeeded").json()
    assert [one["job_id"] for one in events] == [job.id]
    assert admin.get(f"/api/v1/events?after={events[0]['number']}").json() == []


def test_jobs_are_steered_by_administrators_and_noted(site: Site, admin: TestClient) -> None:
    job = finished_job(site.database)
    told = admin.post(f"/api/v1/jobs/{job.id}/resend", json={"destination": "pacs"}).json()
    assert told["state"] == "succeeded"
    assert admin.post(f"/api/v1/jobs/{job.id}/rerun").json()["state"] == "queued"
    assert admin.post(f"/api/v1/jobs/{job.id}/cancel").json()["state"] == "cancelled"
    again = admin.post(f"/api/v1/jobs/{job.id}/cancel")
    assert (again.status_code, "has ended" in again.json()["detail"]) == (404, True)
    reader = site.program(Role.READER).post(f"/api/v1/jobs/{job.id}/rerun")
    assert (reader.status_code, reader.json()["detail"]) == (
        403,
        "this needs the role admin; yours is reader",
    )
    entries = audit_entries(site.database, AuditSearch(who="admin"), 10)
    assert [one.deed.what for one in entries] == ["job.cancel", "job.rerun", "result.resend"]


def test_models_are_paused(admin: TestClient) -> None:
    assert admin.post("/api/v1/queue/pause", json={"reason": "x"}).json()["pause"]["by"] == "admin"
    assert admin.get("/api/v1/trouble").json()["trouble"][0]["what"] == "queue"
    assert admin.post("/api/v1/queue/resume").json()["pause"] is None


def test_a_browser_s_session_needs_the_header_to_change_something(site: Site) -> None:
    browser = site.logged_in(Role.ADMIN)
    assert browser.get("/api/v1/queue").status_code == 200
    assert browser.post("/api/v1/queue/resume").status_code == 403


def test_null_characters_are_refused(admin: TestClient) -> None:
    assert admin.get("/api/v1/studies?text=%00").status_code == 400
    assert admin.get("/api/v1/studies/%00").status_code == 400


def test_nothing_that_is_sent_makes_a_fault_of_ours(site: Site, admin: TestClient) -> None:
    """Requests made up from the description of the API, right ones and wrong ones."""
    finished_job(site.database)
    described: dict[str, Any] = admin.get("/api/v1/openapi.json").json()
    schema = openapi.from_dict(described)
    schema.app = site.app
    token = {"Authorization": admin.headers["Authorization"]}
    tried: list[int] = []
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        for mode in GenerationMode:

            @FEW
            @given(case=operation.as_strategy(generation_mode=mode))
            def holds(case: Any) -> None:
                answer = case.call(base_url=HOME, headers=token)
                assert answer.status_code < 500, f"{case.method} {case.formatted_path}"
                tried.append(answer.status_code)

            with suppress(Unsatisfiable):  # what takes no parameter cannot be asked wrongly
                holds()
    assert len(tried) > 100
    assert {200, 404, 422} <= set(tried)
