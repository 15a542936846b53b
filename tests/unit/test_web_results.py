"""Results, reports and plots: who sees them, what can be said, and that nothing hostile runs."""

import re
from collections.abc import Iterator
from html import unescape
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.domain.jobs import Job
from dicomnode.domain.judgements import Verdict
from dicomnode.store.audit import AuditSearch, audit_entries
from dicomnode.store.results_told import ResultSearch, result_told, results_told
from dicomnode.web.pages import reports as reports_module
from dicomnode.web.pages import results as page_module
from tests.contract.store_scenes import STUDY
from tests.contract.test_store_disagreements import differing
from tests.contract.test_store_lesions import studied
from tests.unit.web_scenes import ESCAPED, HOSTILE, judged_scene
from tests.unit.web_site import Site, form


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.database.dispose()


@pytest.fixture
def job(site: Site) -> Job:
    return judged_scene(site.database)


@pytest.fixture
def reader(site: Site, job: Job) -> TestClient:
    return site.logged_in(Role.READER)


PAGES = {
    "/overview": Role.VIEWER,
    "/results": Role.VIEWER,
    "/results/JOB": Role.VIEWER,
    "/results/JOB/overlay.png": Role.VIEWER,
    "/results/JOB/thumbnail.webp": Role.VIEWER,
    "/reports": Role.READER,
    "/reports/1": Role.READER,
    "/reports/disagreements": Role.READER,
}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.READER, Role.ADMIN])
def test_each_role_sees_its_pages_and_no_others(site: Site, job: Job, role: Role) -> None:
    browser = site.logged_in(role)
    for path, needed in PAGES.items():
        answer = browser.get(path.replace("JOB", job.id))
        assert answer.status_code == (200 if role.includes(needed) else 403), path
        assert HOSTILE not in answer.text, path
    may = role.includes(Role.READER)
    assert ('id="labels"' in browser.get("/overview").text) == may
    assert ("/judgements" in browser.get(f"/results/{job.id}").text) == may
    values = {**form(browser), "finding": "0", "verdict": "accepted"}
    answer = browser.post(f"/results/{job.id}/judgements", data=values)
    assert answer.status_code == (303 if may else 403)


@pytest.mark.parametrize("path", ["/overview", "/results", "/reports", "/reports/disagreements"])
def test_a_new_node_has_empty_pages(site: Site, path: str) -> None:
    assert site.logged_in(Role.ADMIN).get(path).status_code == 200


def test_whoever_logs_in_comes_to_the_overview(site: Site) -> None:
    assert site.logged_in(Role.VIEWER).get("/").headers["location"] == "/overview"


def test_what_peers_sent_is_shown_and_never_run(reader: TestClient, job: Job) -> None:
    for path in ("/results", f"/results/{job.id}", "/reports/1", "/reports?label=effusion"):
        page = reader.get(path).text
        assert ESCAPED in page, path
        assert HOSTILE not in page, path


def test_results_have_their_accession_numbers(reader: TestClient, job: Job) -> None:
    for path in ("/results", f"/results/{job.id}"):
        assert "accession A1" in reader.get(path).text, path


def test_a_reader_rejects_a_finding_and_thinks_again(
    site: Site, reader: TestClient, job: Job
) -> None:
    address = f"/results/{job.id}/judgements"
    rejected = {**form(reader), "finding": "1", "verdict": "rejected", "remark": HOSTILE}
    assert reader.post(address, data=rejected).headers["location"] == f"/results/{job.id}#f1"
    reader.post(address, data={**form(reader), "finding": "1", "verdict": "accepted"})
    told = result_told(site.database, job.id)
    assert (told.in_force[1].verdict, told.in_force[1].by) == (Verdict.ACCEPTED, "reader")
    assert [word.remark for word in told.superseded] == [HOSTILE]
    page = reader.get(f"/results/{job.id}").text
    assert ESCAPED in page
    assert HOSTILE not in page
    (entry, _) = audit_entries(site.database, AuditSearch(what="result.judged"), 10)
    assert (entry.deed.on, entry.deed.facts["verdict"]) == (job.id, "accepted")


def test_to_correct_one_has_to_say_what_is_right(site: Site, reader: TestClient, job: Job) -> None:
    values = {**form(reader), "finding": "1", "verdict": "corrected"}
    address = f"/results/{job.id}/judgements"
    answer = reader.post(address, data={**values, "remark": " "})
    assert (answer.status_code, "what is right" in answer.text) == (422, True)
    assert result_told(site.database, job.id).in_force == {}
    assert reader.post(address, data={**values, "remark": "apex missing"}).status_code == 303


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"finding": "99", "verdict": "accepted"}, 404),
        ({"finding": "-1", "verdict": "accepted"}, 422),
        ({"finding": "1", "verdict": "perhaps"}, 422),
        ({"finding": "1", "verdict": "accepted", "remark": "x" * 2001}, 422),
    ],
)
def test_what_cannot_be_said_is_refused(
    site: Site, reader: TestClient, job: Job, values: dict[str, str], status: int
) -> None:
    answer = reader.post(f"/results/{job.id}/judgements", data={**form(reader), **values})
    assert answer.status_code == status
    assert result_told(site.database, job.id).in_force == {}


@pytest.mark.parametrize("name", ["none", "..", "%2e%2e%2f%2e%2e", "a/b"])
def test_no_picture_is_read_by_a_name_that_is_no_result(reader: TestClient, name: str) -> None:
    for file in ("overlay.png", "thumbnail.webp"):
        assert reader.get(f"/results/{name}/{file}").status_code == 404


def test_a_thumbnail_is_small(reader: TestClient, job: Job) -> None:
    answer = reader.get(f"/results/{job.id}/thumbnail.webp")
    with Image.open(BytesIO(answer.content)) as picture:
        assert (picture.size, picture.format) == ((640, 427), "WEBP")
    assert len(answer.content) < 20_000


def test_results_are_narrowed_by_the_form(reader: TestClient, job: Job) -> None:
    for query, found in (
        ("finding=cardio", True),
        ("finding=spleen", False),
        ("algorithm=lung_ct", True),
        ("verdict=none", True),
        ("verdict=rejected", False),
        (f"study={STUDY}", True),
        ("study=1.2.3", False),
        ("before=2020-01-01T00:00:00%2B00:00|x", False),
        ("before=nonsense", True),
    ):
        assert (job.id in reader.get(f"/results?{query}").text) == found, query
    assert reader.get(f"/results?before={'x' * 201}").status_code == 422


def test_pages_of_results_follow_by_key_and_keep_what_was_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        studied(site.database, number, "20240131", [])
    monkeypatch.setattr(page_module, "SHOWN", 1)
    viewer = site.logged_in(Role.VIEWER)
    address, seen = "/results?algorithm=nodes", []
    while address:
        page = viewer.get(address).text
        seen += re.findall(
            r'<td class="wrap"><a href="/results/(\w+)" aria-label="nodes, [^"]*">', page
        )
        assert ('href="/results?algorithm=nodes">Newest' in page) == (len(seen) > 1)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        address = unescape(following.group(1)) if following else ""
    listed = results_told(site.database, ResultSearch(), limit=10)
    assert seen == [one.job_id for one in listed]
    assert len(seen) == 3


def test_a_disagreement_shows_sentence_and_picture_side_by_side(
    reader: TestClient, job: Job
) -> None:
    page = reader.get("/reports/disagreements?kind=ai-only").text
    assert "cardiomegaly: the model alone" in page
    assert "<blockquote>No cardiomegaly.</blockquote>" in page
    assert f'src="/results/{job.id}/thumbnail.webp?run=1"' in page
    assert "differ nowhere" in reader.get("/reports/disagreements?kind=report-only").text


def test_pages_of_disagreements_follow_by_key_and_keep_what_was_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    differing(site.database, 3)
    monkeypatch.setattr(reports_module, "SHOWN", 2)
    reader = site.logged_in(Role.READER)
    for asked, count in (("", 6), ("?label=nodule", 3), ("?kind=ai-only", 6)):
        address, seen = f"/reports/disagreements{asked}", []
        while address:
            page = reader.get(address).text
            seen += re.findall(r"<h2>(\w+): the model alone</h2>\s.*?Report (\d+)</a>", page, re.S)
            assert (">Newest</a>" in page) == (len(seen) > 2)
            following = re.search(r'href="([^"]+)" rel="next"', page)
            address = unescape(following.group(1)) if following else ""
        assert len(seen) == len(set(seen)) == count, asked
    for place in ("nonsense", "1|x", "1||nodule", "\u0661|x|nodule", f"{'9' * 19}|x|nodule"):
        page = reader.get("/reports/disagreements", params={"before": place}).text
        assert "the model alone</h2>" in page, place
    assert reader.get("/reports/disagreements?before=0|x|nodule").text.count("<article") == 0


def test_dates_are_written_with_dashes(site: Site) -> None:
    (job, _) = (studied(site.database, number, "20240131", []) for number in (1, 2))
    viewer = site.logged_in(Role.VIEWER)
    for path in ("/results", f"/results/{job.id}"):
        page = viewer.get(path).text
        assert "2024-01-31" in page, path
        assert "20240131" not in page, path


def test_a_report_is_shown_word_for_word_with_its_mentions_marked(
    site: Site, reader: TestClient
) -> None:
    page = reader.get("/reports/1").text
    text = re.findall(r'<p class="report">(.*?)</p>', page, re.DOTALL)[0]
    marks = re.findall(r'<mark class="(\w+)" id="m\d+">([^<]*)</mark>', text)
    assert ("absent", "cardiomegaly") in marks
    assert ("present", "pleural effusion") in marks
    plain = re.sub(r"</?mark[^>]*>", "", text)
    assert plain == (
        f"Heart {ESCAPED}. No cardiomegaly. Small left pleural effusion. Possible nodule."
    )
    (entry,) = audit_entries(site.database, AuditSearch(what="report.read"), 10)
    assert (entry.deed.who, entry.deed.on) == ("reader", "1")
    assert reader.get("/reports/99").status_code == 404


def test_prevalence_is_told_by_label_month_and_scanner(reader: TestClient) -> None:
    page = reader.get("/reports?label=effusion").text
    assert "effusion, month by month" in page
    assert '<th scope="row">2024-01</th><td class="number">100</td>' in page
