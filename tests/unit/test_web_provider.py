"""Logging in by an OpenID Connect provider, honest and not."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.settings import OidcSettings, Settings, WebSettings
from dicomnode.store.accounts import accounts
from dicomnode.store.audit import AuditSearch, audit_entries
from tests.contract.store_scenes import NOON, at
from tests.unit.oidc_provider import CLIENT, SECRET, Provider
from tests.unit.web_site import Site

ANNA = {"sub": "42", "preferred_username": "Anna", "realm": {"groups": ["staff", "radiology"]}}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(now=NOON, claims=dict(ANNA)) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, provider: Provider) -> Iterator[Site]:
    oidc = OidcSettings(
        issuer=provider.issuer,
        client_id=CLIENT,
        client_secret=SECRET,
        role_claim="realm.groups",
        roles={"radiology": Role.READER, "staff": Role.VIEWER, "pacs": Role.ADMIN},
    )
    made = Site(tmp_path, settings=Settings(web=WebSettings(oidc=oidc)))
    yield made
    made.database.dispose()


def come_back(browser: TestClient, *, page: str = "") -> str:
    """Go to the provider and return; the address it sends the browser back to."""
    sent = browser.get("/login/provider", params={"next": page} if page else None)
    assert sent.status_code == 303, sent.text
    back = httpx.get(sent.headers["location"]).headers["location"]
    parts = urlsplit(str(back))
    assert parts.netloc == "127.0.0.1"
    return f"{parts.path}?{parts.query}"


def log_in(browser: TestClient) -> Response:
    return browser.get(come_back(browser))


def reasons(site: Site) -> list[object]:
    found = audit_entries(site.database, AuditSearch(what="login.refused"), 10)
    return [one.deed.facts["reason"] for one in found]


def test_whoever_the_provider_vouches_for_comes_in_with_the_highest_role(site: Site) -> None:
    browser = site.browser()
    assert "Log in with your hospital account" in browser.get("/login").text
    answer = browser.get(come_back(browser, page="/queue"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue")
    assert 'anna</a> <span class="muted">reader' in browser.get("/studies").text


def test_the_request_is_made_with_pkce_and_a_nonce(site: Site, provider: Provider) -> None:
    come_back(site.browser())
    come_back(site.browser())
    first, second = provider.asked
    assert first["code_challenge_method"] == "S256"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]


def test_a_role_that_is_taken_away_counts_at_the_next_login(site: Site, provider: Provider) -> None:
    log_in(site.browser())
    provider.claims["realm"] = {"groups": ["staff"]}
    log_in(site.browser())
    assert [one.role for one in accounts(site.database) if one.name == "anna"] == [Role.VIEWER]
    provider.claims["realm"] = {"groups": ["kitchen"]}
    assert "no role at this node" in log_in(site.browser()).text


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"iss": "http://127.0.0.1:1"},
        {"nonce": "of another login"},
        {"nonce": None},
        {"exp": int(at(-3600).timestamp())},
        {"exp": None},
        {"sub": None},
        {"azp": "another"},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_this_login_opens_nothing(
    site: Site, provider: Provider, changes: dict[str, object]
) -> None:
    provider.changes = changes
    browser = site.browser()
    answer = log_in(browser)
    assert (answer.status_code, "did not vouch" in answer.text) == (403, True)
    assert browser.get("/studies").status_code == 303
    assert reasons(site) == ["The provider did not vouch for this login."]


def test_a_token_signed_by_somebody_else_opens_nothing(site: Site, provider: Provider) -> None:
    provider.signs_with_other_key = True
    assert log_in(site.browser()).status_code == 403


def test_an_answer_counts_once_and_only_in_the_browser_that_asked(site: Site) -> None:
    browser = site.browser()
    back = come_back(browser)
    assert "not begun here" in site.browser().get(back).text
    other = site.browser()
    come_back(other)
    assert "not begun here" in other.get(back).text
    assert browser.get(back).status_code == 303
    assert "not begun here" in browser.get(back).text


@pytest.mark.parametrize("query", ["", "?error=access_denied", "?code=x", "?code=x&state="])
def test_an_answer_without_code_or_state_opens_nothing(site: Site, query: str) -> None:
    assert site.browser().get(f"/login/provider/callback{query}").status_code == 403


def test_a_name_that_belongs_to_a_local_account_is_not_taken_over(
    site: Site, provider: Provider
) -> None:
    provider.claims["preferred_username"] = "admin"
    assert "belongs to another account" in log_in(site.browser()).text


def test_a_provider_that_is_down_is_said_to_be(site: Site, provider: Provider) -> None:
    oidc = site.settings.web.oidc
    assert oidc is not None
    web = site.settings.web.model_copy(
        update={"oidc": oidc.model_copy(update={"issuer": "http://127.0.0.1:1"})}
    )
    site.settings = site.settings.model_copy(update={"web": web})
    site.app = site.restarted()
    answer = site.browser().get("/login/provider")
    assert (answer.status_code, "cannot be reached" in answer.text) == (503, True)


def test_without_a_provider_there_is_no_such_page(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.browser().get("/login/provider").status_code == 404
    assert site.browser().get("/login/provider/callback").status_code == 404
    site.database.dispose()
