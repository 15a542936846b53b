"""DICOMweb among the pages: one session, one set of roles, one audit trail."""

from pathlib import Path

import pytest

from dicomnode.domain.access import Role
from dicomnode.store.audit import AuditSearch, audit_entries
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration.dicomweb_scenes import Archive
from tests.unit.web_site import Site

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
