"""DICOMweb among the pages: one session, one set of roles, one audit trail."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.store.audit import AuditSearch, audit_entries
from dicomnode.store.story import story
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration.dicomweb_scenes import Archive, body_of, content_of
from tests.unit.web_site import Site, form

IDENTITY = StudyIdentity(seed="access")
STUDY = f"/dicom-web/studies/{IDENTITY.study_uid}"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    geometry = SeriesGeometry(rows=8, columns=8, slices=2)
    Archive(database=site.database).receive(ct_series(IDENTITY, geometry))
    return site


def test_nobody_searches_or_retrieves_without_logging_in(site: Site) -> None:
    for path in ("/dicom-web/studies", STUDY, f"{STUDY}/metadata", f"{STUDY}/rendered"):
        answer = site.browser().get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_session_and_a_token_open_it_alike(site: Site) -> None:
    for client in (site.logged_in(Role.VIEWER), site.program(Role.VIEWER)):
        (found,) = client.get("/dicom-web/studies").json()
        assert found["0020000D"]["Value"] == [IDENTITY.study_uid]
        assert client.get(f"{STUDY}/thumbnail").status_code == 200


def test_links_lead_to_the_public_address(site: Site) -> None:
    public = site.settings.web.model_copy(update={"public_url": "https://node.example/ai"})
    site.settings = site.settings.model_copy(update={"web": public})
    site.app = site.restarted()
    (found,) = site.program(Role.VIEWER).get("/dicom-web/studies").json()
    assert found["00081190"]["Value"] == [f"https://node.example/ai{STUDY}"]


def test_who_retrieved_which_study_is_on_record(site: Site) -> None:
    browser = site.logged_in(Role.VIEWER)
    assert browser.get(f"{STUDY}/metadata").status_code == 200
    assert browser.get(STUDY, headers={"Accept": "*/*"}).status_code == 200
    deeds = [entry.deed for entry in audit_entries(site.database, AuditSearch(), 10)]
    seen = [deed for deed in deeds if deed.what == "study.retrieved"]
    assert [(deed.who, deed.on) for deed in seen] == [("viewer", IDENTITY.study_uid)] * 2


def test_who_judges_results_may_store_and_a_session_must_prove_its_page(site: Site) -> None:
    sent = ct_series(StudyIdentity(seed="sent"), SeriesGeometry(rows=8, columns=8, slices=1))
    content, kind = body_of([content_of(sent[0])])
    viewer, reader = site.program(Role.VIEWER), site.program(Role.READER)
    browser = site.logged_in(Role.READER)

    def post(client: TestClient, **headers: str) -> int:
        headers = {"Content-Type": kind, **headers}
        return client.post("/dicom-web/studies", content=content, headers=headers).status_code

    assert post(site.browser()) == 401
    assert post(viewer) == 403
    assert post(browser) == 403
    for elsewhere in ("cross-site", "same-site", "none"):
        assert post(browser, **{"Sec-Fetch-Site": elsewhere}) == 403
    # The viewer at this origin, as the browser itself says; a viewer's session still may not.
    assert post(browser, **{"Sec-Fetch-Site": "same-origin"}) == 200
    assert post(site.logged_in(Role.VIEWER), **{"Sec-Fetch-Site": "same-origin"}) == 403
    assert post(browser, **{"X-Form-Token": form(browser)["form_token"]}) == 200
    assert post(reader) == 200
    site.app.state.desk.close()
    Archive(database=site.database).index()
    (received,) = story(site.database, sent[0].StudyInstanceUID).received
    assert (received.calling_ae, received.service) == ("reader", "STOW")
