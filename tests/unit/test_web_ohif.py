"""The viewer among the pages: its files at the root, behind the login, and nothing beside them."""

from pathlib import Path

import pytest

from dicomnode.domain.access import Role
from dicomnode.settings import WebSettings
from dicomnode.viewer.release import OHIF
from tests.contract.store_scenes import STUDY, receive, uids
from tests.unit.web_site import Site

PAGE = (
    '<html><script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>'
    '<script src="/app.js"></script></html>'
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    receive(site.database, uids(f"{STUDY}.1", [1]))
    return site


@pytest.fixture
def with_viewer(site: Site) -> Site:
    dist = site.folder / "viewer" / f"ohif-{OHIF.version}"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text(PAGE)
    (dist / "app.js").write_text("start()")
    (dist / "app.bundle.0f6159c501addfe9.js").write_text("more()")
    (dist / "assets" / "icon.png").write_bytes(b"png")
    (dist / "sw.js").write_text("stand between")
    return site


def test_without_a_viewer_the_pages_say_how_to_get_one(site: Site) -> None:
    browser = site.logged_in(Role.VIEWER)
    answer = browser.get("/viewer")
    assert answer.status_code == 404
    assert "dicomnode viewer --install" in answer.text
    page = browser.get(f"/studies/{STUDY}").text
    assert "Open in viewer" not in page
    assert "dicomnode viewer --install" in page


def test_with_one_a_study_leads_to_it(with_viewer: Site) -> None:
    browser = with_viewer.logged_in(Role.VIEWER)
    page = browser.get(f"/studies/{STUDY}").text
    address = f"/viewer?StudyInstanceUIDs={STUDY}"
    assert f'href="{address}">Open in viewer' in page
    answer = browser.get(address)
    assert '<script src="/app.js">' in answer.text
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert "worker-src 'self' blob:" in answer.headers["content-security-policy"]


def test_no_service_worker_comes_between_the_browser_and_the_pages(with_viewer: Site) -> None:
    browser = with_viewer.logged_in(Role.VIEWER)
    assert "service-worker" not in browser.get("/viewer").text
    assert browser.get("/sw.js").status_code == 404


def test_its_files_are_served_at_the_root_and_no_others(with_viewer: Site) -> None:
    (with_viewer.folder / "secret.txt").write_text("secret")
    browser = with_viewer.logged_in(Role.VIEWER)
    assert browser.get("/app.js").text == "start()"
    assert browser.get("/assets/icon.png").content == b"png"
    kept = browser.get("/app.bundle.0f6159c501addfe9.js").headers["cache-control"]
    assert kept == "private, max-age=31536000, immutable"
    assert browser.get("/app.js").headers["cache-control"] == "private, no-cache"
    for path in ("/../../secret.txt", "/assets/%2e%2e/%2e%2e/%2e%2e/secret.txt", "/%00", "/assets"):
        answer = browser.get(path)
        assert answer.status_code in (400, 404), path
        assert "secret" not in answer.text.replace("secret.txt", "")


def test_it_reads_from_the_nodes_own_dicomweb(with_viewer: Site) -> None:
    script = with_viewer.logged_in(Role.VIEWER).get("/app-config.js").text
    assert '"wadoRoot": "/dicom-web"' in script
    assert '"showStudyList": false' in script


def test_who_judges_results_may_send_corrected_ones_back(with_viewer: Site) -> None:
    for role, offered in ((Role.VIEWER, "false"), (Role.READER, "true")):
        script = with_viewer.logged_in(role).get("/app-config.js").text
        assert f'"supportsStow": {offered}' in script


def test_nobody_gets_it_without_logging_in(with_viewer: Site) -> None:
    for path in ("/viewer", "/app.js", "/app-config.js", "/assets/icon.png"):
        answer = with_viewer.browser().get(path)
        assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login")


def test_a_folder_of_the_settings_is_looked_into_instead(site: Site, tmp_path: Path) -> None:
    dist = tmp_path / "elsewhere" / f"ohif-{OHIF.version}"
    dist.mkdir(parents=True)
    (dist / "index.html").write_text(PAGE)
    web = WebSettings(viewer=tmp_path / "elsewhere")
    site.settings = site.settings.model_copy(update={"web": web})
    site.app = site.restarted()
    assert site.logged_in(Role.VIEWER).get("/viewer").status_code == 200
