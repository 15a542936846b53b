"""Rules are seen by all, tried and put to work by administrators alone."""

import html
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.settings import Settings
from dicomnode.store.audit import AuditSearch, audit_entries
from dicomnode.store.jobs import save_rule_set
from tests.contract.store_scenes import NOON, close, receive
from tests.unit.web_site import Site, form, hidden

RULES = """\
[[rule]]
name = "lungs on chest CT"
algorithm = "lung_ct"
[rule.series.image]
Modality = "CT"
"""
THIN = RULES + "SliceThickness.at_most = 1\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    made = Site(tmp_path, Settings(rules=file))
    receive(made.database, [f"1.2.1.1.{number}" for number in range(1, 20)])
    close(made.database)
    yield made
    made.database.dispose()


@pytest.fixture
def admin(site: Site) -> TestClient:
    return site.logged_in(Role.ADMIN)


def file_of(site: Site) -> str:
    assert site.settings.rules is not None
    return site.settings.rules.read_text()


def tried(browser: TestClient, text: str, last: str = "100") -> tuple[str, dict[str, str]]:
    """The page after trying, and what its form would send."""
    page = browser.get("/rules").text
    values = {"form_token": hidden(page, "form_token"), "based_on": hidden(page, "based_on")}
    answer = browser.post("/rules/try", data={**values, "text": text, "last": last})
    kept = {"tried": hidden(answer.text, "tried")} if 'name="tried"' in answer.text else {}
    return html.unescape(answer.text), {**values, **kept, "text": text}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.READER, Role.ADMIN])
def test_all_see_the_rules_and_administrators_change_them(site: Site, role: Role) -> None:
    browser = site.logged_in(role)
    page = browser.get("/rules")
    assert page.status_code == 200
    assert "lungs on chest CT" in page.text
    is_admin = role is Role.ADMIN
    assert ("<textarea" in page.text) == is_admin
    values = {**form(browser), "text": THIN, "based_on": "0" * 64, "tried": "0" * 64}
    for path in ("/rules/try", "/rules/activate"):
        refused = browser.post(path, data=values).status_code == 403
        assert refused == (not is_admin), path
    assert file_of(site) == RULES


def test_a_text_is_tried_on_the_past_and_then_put_to_work(site: Site, admin: TestClient) -> None:
    page, values = tried(admin, THIN.replace("\n", "\r\n"))
    assert "Would have matched 0, today matched 1; 1 difference" in page
    assert "would no longer run lung_ct on 1.2.1.1" in page
    assert file_of(site) == RULES, "trying changes nothing"
    answer = admin.post("/rules/activate", data={**values, "remark": "thin only"})
    assert answer.status_code == 303
    assert file_of(site) == THIN
    page = admin.get("/rules").text
    assert "thin only" in page
    (entry,) = audit_entries(site.database, AuditSearch(what="rules"), 10)
    assert (entry.deed.who, entry.deed.facts["remark"]) == ("admin", "thin only")


def test_faults_are_shown_with_their_lines_and_nothing_is_changed(
    site: Site, admin: TestClient
) -> None:
    page, _ = tried(admin, RULES.replace("Modality", "Modalty") + "<b>")
    assert "rules.toml:" in page
    page, values = tried(admin, RULES.replace('"lung_ct"', '"lung_tc"'))
    assert "did you mean 'lung_ct'?" in page
    assert "tried" not in values, "it cannot be put to work"
    assert file_of(site) == RULES


def test_only_what_was_tried_is_put_to_work(site: Site, admin: TestClient) -> None:
    _, values = tried(admin, THIN)
    answer = admin.post("/rules/activate", data={**values, "text": THIN + "\n# more"})
    assert (answer.status_code, "changed since it was tried" in answer.text) == (422, True)
    assert file_of(site) == RULES


def test_of_two_administrators_the_second_is_told(site: Site, admin: TestClient) -> None:
    _, first = tried(admin, THIN)
    _, second = tried(admin, RULES + "# two\n")
    admin.post("/rules/activate", data=first)
    answer = admin.post("/rules/activate", data=second)
    assert (answer.status_code, "changed since you opened it" in answer.text) == (422, True)
    assert file_of(site) == THIN


def test_an_earlier_version_comes_back_by_the_same_way(site: Site, admin: TestClient) -> None:
    _, values = tried(admin, THIN)
    admin.post("/rules/activate", data=values)
    page = admin.get(f"/rules?version={values['based_on']}").text
    assert "This is an earlier version" in page
    assert "at_most" not in page.split("<textarea")[1].split("</textarea>")[0]
    assert admin.get(f"/rules?version={'0' * 64}").status_code == 404
    assert admin.get("/rules?version=../../etc/passwd").status_code == 422


def test_a_file_that_was_spoilt_by_hand_is_said_to_be(site: Site, admin: TestClient) -> None:
    assert site.settings.rules is not None
    site.settings.rules.write_text("[[rule]]\nname = 'x'\n")
    assert "keeps to the last good one" in admin.get("/rules").text


def test_rules_are_shown_and_never_run(site: Site, admin: TestClient) -> None:
    hostile = "</textarea><script>alert(1)</script>"
    save_rule_set(site.database, "a" * 64, hostile, NOON)
    assert hostile not in admin.get(f"/rules?version={'a' * 64}").text
