"""Each page over an index that was lived in; what its forms do."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.domain.errors import MissingSlices
from dicomnode.domain.jobs import Job, JobState
from dicomnode.settings import Destination, Settings
from dicomnode.store.audit import AuditSearch, audit_entries
from dicomnode.store.jobs import end_job_by_error, load_job
from dicomnode.store.leases import join
from dicomnode.store.overview import overview
from dicomnode.store.story import story
from dicomnode.store.workers import inference_pause, is_to_drain
from tests.contract.store_scenes import (
    SERIES,
    STUDY,
    at,
    close,
    finished_job,
    land,
    lung_match,
    match_lungs,
    receive,
    running_job,
    uids,
)
from tests.unit.web_site import Site, form

PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, settings=Settings(destinations=(PACS,)))
    yield made
    made.database.dispose()


@pytest.fixture
def admin(site: Site) -> TestClient:
    return site.logged_in(Role.ADMIN)


def words(page: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def deeds(site: Site) -> list[tuple[str, str]]:
    entries = audit_entries(site.database, AuditSearch(), 1000)
    return [(one.deed.what, one.deed.on) for one in reversed(entries)]


def finished(site: Site) -> Job:
    """A finished job with a picture beside its results."""
    job = finished_job(site.database)
    path = site.database.absolute(story(site.database, STUDY).jobs[0].paths[0])
    path.parent.mkdir(parents=True)
    (path.parent / "overlay.png").write_bytes(b"a picture")
    return job


def refused(site: Site) -> Job:
    """A job that needs a person."""
    job = running_job(site.database)
    error = MissingSlices("gap after <40>")
    end_job_by_error(site.database, job.id, JobState.REFUSED, error, at(5))
    return job


def test_an_empty_node_says_so(admin: TestClient) -> None:
    assert "No study has been received yet" in admin.get("/studies").text
    assert "Nothing runs" in admin.get("/queue").text
    assert "Nothing needs a person" in admin.get("/trouble").text


class TestStudies:
    def test_a_study_is_found_with_its_state(self, site: Site, admin: TestClient) -> None:
        finished(site)
        seen = words(admin.get("/studies").text)
        assert "CT chest" in seen
        assert "working" in seen
        assert "1 succeeded" in seen
        assert "4 waiting" in seen

    def test_what_is_stuck_says_why_and_nothing_of_it_is_markup(
        self, site: Site, admin: TestClient
    ) -> None:
        refused(site)
        page = admin.get("/studies?state=stuck").text
        assert "lung_ct refused: MissingSlices: gap after &lt;40&gt;" in page

    @pytest.mark.parametrize(
        ("query", "is_found"),
        [
            ("text=chest", True),
            ("text=head", False),
            ("modality=ct", True),
            ("modality=MR", False),
            ("state=working", True),
            ("state=done", False),
            ("state=nonsense", True),
            ("age=last+hour", True),
            ("before=nonsense", True),
            ("before=2020-01-01T00:00:00%2B00:00|1.2", False),
            ("before=2020-01-01T00:00:00|1.2", True),
        ],
    )
    def test_filters_leave_out_what_does_not_fit(
        self, site: Site, admin: TestClient, query: str, is_found: bool
    ) -> None:
        finished(site)
        answer = admin.get(f"/studies?{query}")
        assert answer.status_code == 200
        assert (f"/studies/{STUDY}" in answer.text) is is_found

    def test_pages_lead_to_each_other(self, site: Site, admin: TestClient) -> None:
        for number in range(60):
            receive(
                site.database, [f"1.2.{number}.1.1"], association=f"a{number}", moment=at(number)
            )
        first = admin.get("/studies").text
        link = re.search(r'href="([^"]*)" rel="next"', first)
        assert link
        second = admin.get(link[1].replace("&amp;", "&")).text
        seen = [re.findall(r'href="/studies/(1[\d.]+)"', page) for page in (first, second)]
        assert [len(one) for one in seen] == [50, 10]
        assert len({*seen[0], *seen[1]}) == 60
        assert 'rel="next"' not in second


class TestStory:
    def test_it_tells_everything(self, site: Site, admin: TestClient) -> None:
        finished(site)
        seen = words(admin.get(f"/studies/{STUDY}").text)
        for part in (
            "Received 3 images",
            "from CT1 at 127.0.0.1",
            "Closed as revision 1: quiet",
            "matches rule lungs on chest CT : it matches",
            "no rule heart on radiograph : no series fits",
            "Modality = &#34;CT&#34;",
            "lung_ct 1.0.0 succeeded",
            "pixel spacing is that of the detector",
            "left lung",
            "2,500",
            "SEG archive waiting",
            "read 1.0 s, infer 2.5 s",
        ):
            assert part in seen, part
        assert deeds(site)[-1] == ("study.read", STUDY)

    def test_the_picture_is_shown_to_who_may_see_it(self, site: Site, admin: TestClient) -> None:
        job = finished(site)
        address = f"/studies/{STUDY}/jobs/{job.id}/overlay.png"
        assert address in admin.get(f"/studies/{STUDY}").text
        answer = admin.get(address)
        assert (answer.content, answer.headers["content-type"]) == (b"a picture", "image/png")
        assert site.browser().get(address).status_code == 303
        assert admin.get(address.replace(job.id, "none")).status_code == 404

    def test_a_study_that_never_came_is_not_found(self, admin: TestClient) -> None:
        answer = admin.get("/studies/1.2.3<b>")
        assert answer.status_code == 404
        assert "no study 1.2.3&lt;b&gt; has been received" in answer.text

    def test_who_may_not_steer_sees_no_button(self, site: Site) -> None:
        finished(site)
        assert "Run again" not in site.logged_in(Role.READER).get(f"/studies/{STUDY}").text

    def act(self, site: Site, admin: TestClient, job: Job, action: str, **values: str) -> int:
        address = f"/studies/{STUDY}/jobs/{job.id}/{action}"
        return admin.post(address, data={**form(admin), **values}).status_code

    def test_jobs_are_steered(self, site: Site, admin: TestClient) -> None:
        job = refused(site)
        for action, state in (
            ("dismiss", JobState.DISMISSED),
            ("rerun", JobState.QUEUED),
            ("cancel", JobState.CANCELLED),
        ):
            assert self.act(site, admin, job, action) == 303
            assert load_job(site.database, job.id).state is state
            assert deeds(site)[-1] == (f"job.{action}", job.id)

    def test_results_are_sent_again_and_given_up(self, site: Site, admin: TestClient) -> None:
        job = finished(site)
        assert self.act(site, admin, job, "resend", destination="pacs") == 303
        assert deeds(site)[-1] == ("result.resend", job.id)
        assert self.act(site, admin, job, "settle", destination="pacs") == 303
        (told,) = story(site.database, STUDY).jobs
        states = {one.destination: one.state for one in told.deliveries}
        assert states == {"pacs": "dismissed", "archive": "waiting"}

    def test_what_cannot_be_done_changes_nothing_and_is_not_noted_as_done(
        self, site: Site, admin: TestClient
    ) -> None:
        job = finished(site)
        before = deeds(site)
        assert self.act(site, admin, job, "cancel") == 404
        assert self.act(site, admin, job, "dismiss") == 404
        assert self.act(site, admin, job, "explode") == 404
        assert self.act(site, admin, job, "resend", destination="elsewhere") == 404
        # Looking at the list for the form's token is no deed.
        assert deeds(site) == before


class TestQueue:
    def test_what_runs_is_shown_with_its_worker(self, site: Site, admin: TestClient) -> None:
        running_job(site.database)
        join(site.database, "gpu1", ["cuda:0"], at(0))
        site.now = at(31)
        seen = words(admin.get("/queue").text)
        assert "CT chest lung_ct routine" in seen
        assert "30 s" in seen
        assert "gpu1 cuda:0 works" in seen
        part = admin.get("/queue/now").text
        assert "cuda:0" in part
        assert "<html" not in part

    def test_models_are_paused_and_let_go_on(self, site: Site, admin: TestClient) -> None:
        reason = {"reason": "new card"}
        assert admin.post("/queue/pause", data={**form(admin), **reason}).status_code == 303
        pause = inference_pause(site.database)
        assert pause is not None
        assert (pause.by, pause.reason) == ("admin", "new card")
        assert "paused by admin: new card" in admin.get("/trouble").text
        assert "Models are paused" in admin.get("/queue").text
        assert admin.post("/queue/resume", data=form(admin)).status_code == 303
        assert inference_pause(site.database) is None
        assert deeds(site)[-2:] == [("queue.pause", "inference"), ("queue.resume", "inference")]

    def test_a_worker_is_drained_but_not_the_node_s_own(
        self, site: Site, admin: TestClient
    ) -> None:
        join(site.database, "gpu1", ["cuda:0"], at(0))
        join(site.database, "node", ["cpu"], at(0), is_part_of_node=True)
        assert admin.post("/queue/drain", data={**form(admin), "worker": "gpu1"}).status_code == 303
        assert is_to_drain(site.database, "gpu1")
        assert admin.post("/queue/drain", data={**form(admin), "worker": "node"}).status_code == 404
        assert "draining" in admin.get("/queue").text
        site.now += timedelta(minutes=2)
        assert "lost" in admin.get("/queue").text


def test_an_object_in_quarantine_is_dismissed(site: Site, admin: TestClient) -> None:
    receive(site.database, uids(SERIES, [1]))
    land(site.database, uids(SERIES, [1]), association="x", digest="77")
    (trouble,) = overview(site.database, site.now).trouble
    address = f"/trouble/quarantine/{trouble.id}/dismiss"
    assert address in admin.get("/trouble").text
    assert admin.post(address, data=form(admin)).status_code == 303
    assert overview(site.database, site.now).trouble == ()
    assert admin.post(address, data=form(admin)).status_code == 404


def test_trouble_leads_to_the_story(site: Site, admin: TestClient) -> None:
    job = refused(site)
    assert f"/studies/{STUDY}#job-{job.id}" in admin.get("/trouble").text


class TestUsers:
    def test_an_account_is_added_and_logs_in(self, site: Site, admin: TestClient) -> None:
        values = {"name": "Anna", "role": "reader", "password": "a mild winter came"}
        assert admin.post("/users", data={**form(admin), **values}).status_code == 303
        assert "anna" in admin.get("/users").text
        assert site.browser().get("/users").status_code == 303
        twice = admin.post("/users", data={**form(admin), **values})
        assert (twice.status_code, "already" in twice.text) == (422, True)
        short = admin.post("/users", data={**form(admin), **values, "password": "short"})
        assert "12 to 256 characters" in short.text
        assert "mild winter" not in twice.text + short.text

    def test_the_last_administrator_stays(self, site: Site, admin: TestClient) -> None:
        assert admin.post("/users/admin/disable", data=form(admin)).status_code == 422
        answer = admin.post("/users/admin/role", data={**form(admin), "role": "viewer"})
        assert "last administrator" in answer.text

    def test_roles_change_and_accounts_close(self, site: Site, admin: TestClient) -> None:
        values = {**form(admin), "role": "reader"}
        assert admin.post("/users/viewer/role", data=values).status_code == 303
        assert admin.post("/users/viewer/disable", data=form(admin)).status_code == 303
        assert admin.post("/users/viewer/enable", data=form(admin)).status_code == 303
        done = ["account.role", "account.disabled", "account.enabled"]
        assert deeds(site)[-3:] == [(what, "viewer") for what in done]

    def test_a_token_is_shown_once_and_revoked(self, site: Site, admin: TestClient) -> None:
        viewer = site.logged_in(Role.VIEWER)
        values = {**form(viewer), "label": "export", "days": "30"}
        found = re.search(
            r"<pre>(dn_[\w-]+)</pre>", viewer.post("/account/tokens", data=values).text
        )
        assert found
        program = site.browser()
        program.headers["Authorization"] = f"Bearer {found[1]}"
        assert program.get("/api/v1/openapi.json").status_code == 200
        assert found[1] not in viewer.get("/account").text
        assert "export" in admin.get("/users").text
        assert admin.post("/tokens/1/revoke", data=form(admin)).status_code == 303
        assert program.get("/api/v1/openapi.json").status_code == 401

    def test_one_s_own_password_is_changed(self, site: Site) -> None:
        viewer = site.logged_in(Role.VIEWER)
        other = site.logged_in(Role.VIEWER)
        values = {**form(viewer), "old": "wrong", "new": "other words in a row"}
        assert viewer.post("/account/password", data=values).status_code == 422
        values["old"] = "correct horse battery"
        assert viewer.post("/account/password", data=values).status_code == 303
        assert other.get("/studies").status_code == 303, "logged out elsewhere"


class TestAudit:
    def test_entries_are_found_by_who_what_and_on(self, site: Site, admin: TestClient) -> None:
        refused(site)
        admin.get(f"/studies/{STUDY}")
        page = admin.get(f"/audit?who=admin&what=study.&on={STUDY}").text
        assert "study.read" in page
        assert ">login<" not in page
        assert "No entry fits" in admin.get("/audit?who=nobody").text

    def test_the_chain_is_checked(self, admin: TestClient) -> None:
        assert "all whole and in order" in admin.get("/audit/check").text

    def test_many_entries_come_in_pages(self, site: Site, admin: TestClient) -> None:
        receive(site.database, uids(SERIES, [1]))
        for _ in range(101):
            admin.get(f"/studies/{STUDY}")
        page = admin.get("/audit?what=study.read").text
        link = re.search(r'href="([^"]*)" rel="next"', page)
        assert link
        assert page.count("study.read") > 99
        last = admin.get(link[1].replace("&amp;", "&")).text
        assert words(last).count(" study.read ") == 1


def test_a_study_that_no_rule_wanted(site: Site, admin: TestClient) -> None:
    receive(site.database, uids(SERIES, range(1, 4)))
    match_lungs(site.database, close(site.database), lung_match())
    assert "queued" in admin.get(f"/studies/{STUDY}").text
