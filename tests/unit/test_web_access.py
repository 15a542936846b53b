"""Who gets in, who does not, and what is written down of it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Mount

from dicomnode.domain.access import Role
from dicomnode.settings import Settings, WebSettings
from dicomnode.store.accounts import disable_account, set_password, set_role
from dicomnode.store.audit import AuditSearch, audit_entries, check_chain
from dicomnode.store.logins import WINDOW
from dicomnode.web.login import HOME, TRIES_PER_ACCOUNT, TRIES_PER_ADDRESS
from dicomnode.web.visitors import known_visitor, require
from tests.unit.web_site import PASSWORD, QUICK, Site, form, hidden, log_in

OPEN = {
    "/login",
    "/login/provider",
    "/login/provider/callback",
    "/health",
    "/health/ready",
}
"""The only routes that ask nobody who is there, besides static files."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.database.dispose()


def deeds(site: Site) -> list[tuple[str, str, str]]:
    """Who, what, on what; oldest first."""
    entries = audit_entries(site.database, AuditSearch(), 1000)
    return [(one.deed.who, one.deed.what, one.deed.on) for one in reversed(entries)]


def routes(site: Site) -> list[RouteContext]:
    """All of them but the static files."""
    found = list(iter_route_contexts(site.app.routes))
    mounted = [one.path for one in found if isinstance(one.original_route, Mount)]
    assert mounted == ["/static"]
    return [one for one in found if not isinstance(one.original_route, Mount)]


def asks_who_is_there(dependant: Dependant) -> bool:
    return dependant.call is known_visitor or any(
        asks_who_is_there(one) for one in dependant.dependencies
    )


def test_every_route_but_the_open_ones_asks_who_is_there(site: Site) -> None:
    asked = {one.path for one in routes(site) if asks_who_is_there(one.dependant)}
    assert {one.path for one in routes(site)} - asked == OPEN


def test_no_route_answers_somebody_unknown(site: Site) -> None:
    browser = site.browser()
    answered = {}
    for route in routes(site):
        path = re.sub(r"{[^}]*}", "0", route.path or "")
        for method in sorted(route.methods or ()):
            answer = browser.request(method, path)
            is_let_in = answer.status_code not in (401, 405) and not answer.headers.get(
                "location", ""
            ).startswith("/login")
            if is_let_in:
                answered[f"{method} {route.path}"] = answer.status_code
    # POST without a form: refused as such. No provider of logins is set up.
    assert answered == {
        "GET /login": 200,
        "POST /login": 422,
        "GET /login/provider": 404,
        "GET /login/provider/callback": 404,
        "GET /health": 200,
        "GET /health/ready": 200,
    }


def role_of(dependant: Dependant) -> Role | None:
    """The role a route asks for; None: whoever is logged in."""
    wanted = [role for role in Role if require(role) is dependant.call]
    deeper = [role_of(one) for one in dependant.dependencies]
    roles = [role for role in (*wanted, *deeper) if role is not None]
    assert len(set(roles)) <= 1
    return roles[0] if roles else None


def test_no_route_answers_a_role_that_is_too_low(site: Site) -> None:
    programs = {role: site.program(role) for role in Role}
    tried = 0
    for route in routes(site):
        wanted = role_of(route.dependant)
        if wanted is None:
            assert route.path in OPEN | {"/", "/logout"}
            continue
        path = re.sub(r"{[^}]*}", "0", route.path or "")
        for method, (role, program) in product(sorted(route.methods or ()), programs.items()):
            status = program.request(method, path).status_code
            assert (status == 403) != role.includes(wanted), f"{role.value} {method} {route.path}"
            tried += 1
    assert tried > 60


OF_ADMINS = [
    "POST /studies/{study_uid}/jobs/{job_id}/{action}",
    "POST /queue/pause",
    "POST /queue/resume",
    "POST /queue/drain",
    "POST /trouble/quarantine/{number}/dismiss",
    "GET /users",
    "POST /users",
    "POST /users/{name}/role",
    "POST /users/{name}/disable",
    "POST /tokens/{number}/revoke",
    "GET /audit",
]


def test_steering_and_accounts_are_for_administrators(site: Site) -> None:
    asked = {
        f"{method} {route.path}": role_of(route.dependant)
        for route in routes(site)
        for method in route.methods or ()
    }
    assert {name: asked[name] for name in OF_ADMINS} == dict.fromkeys(OF_ADMINS, Role.ADMIN)


def test_asking_for_what_is_not_allowed_is_written_down(site: Site) -> None:
    site.logged_in(Role.READER).get("/audit")
    assert deeds(site)[-1] == ("reader", "access.refused", "/audit")


def test_a_worker_fetches_files_and_sees_no_page(site: Site) -> None:
    assert site.logged_in(Role.WORKER).get("/studies").status_code == 403
    assert site.program(Role.WORKER).get("/api/v1/queue").status_code == 403
    assert site.program(Role.ADMIN).get("/api/v1/files/instances/1.dcm").status_code == 403


@pytest.mark.parametrize("role", [Role.VIEWER, Role.READER, Role.ADMIN])
def test_whoever_logs_in_sees_the_studies(site: Site, role: Role) -> None:
    browser = site.logged_in(role)
    answer = browser.get("/studies")
    assert answer.status_code == 200
    assert f"{role.value}</a> <span" in answer.text


def test_a_program_comes_in_by_its_token_alone(site: Site) -> None:
    assert site.program(Role.VIEWER).get("/api/v1/openapi.json").status_code == 200
    stranger = site.browser()
    for header in ("Bearer dn_guess", "Bearer", "Basic dmlld2VyOng=", ""):
        answer = stranger.get("/api/v1/openapi.json", headers={"Authorization": header})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_wrong_passwords_and_unknown_names_are_told_the_same(site: Site) -> None:
    answers = [
        log_in(site.browser(), name, password)
        for name, password in (("admin", "wrong"), ("nobody", PASSWORD), ("", ""))
    ]
    assert {answer.status_code for answer in answers} <= {403, 422}
    words = {re.findall(r'role="alert">([^<]*)<', one.text)[0] for one in answers[:2]}
    assert words == {"Name and password do not fit."}
    # A password that was typed as a name is not written down.
    assert deeds(site)[:2] == [("", "login.refused", "admin"), ("", "login.refused", "")]


def test_guessing_at_an_account_ends_after_some_tries(site: Site) -> None:
    for _ in range(TRIES_PER_ACCOUNT):
        assert log_in(site.browser(), "admin", "wrong").status_code == 403
    refused = log_in(site.browser(), "admin")
    assert "Too many tries" in refused.text
    site.app = site.restarted()
    assert "Too many tries" in log_in(site.browser(), "admin").text, "a restart forgets nothing"
    assert log_in(site.browser(), "viewer").status_code == 303, "others are let in"
    site.now += WINDOW + timedelta(seconds=1)
    assert log_in(site.browser(), "admin").status_code == 303


def test_guessing_from_one_address_ends_after_some_tries(site: Site) -> None:
    for number in range(TRIES_PER_ADDRESS):
        log_in(site.browser(), f"name{number}", "wrong")
    assert "Too many tries" in log_in(site.browser(), "admin").text


def test_a_login_that_succeeds_counts_nothing(site: Site) -> None:
    for _ in range(3):
        for _ in range(TRIES_PER_ACCOUNT - 1):
            log_in(site.browser(), "admin", "wrong")
        assert log_in(site.browser(), "admin").status_code == 303
        site.now += WINDOW / 4


def test_the_login_form_must_be_ours(site: Site) -> None:
    """Or a foreign page could log somebody in as somebody else."""
    browser = site.browser()
    values = {"name": "admin", "password": PASSWORD}
    assert "out of date" in browser.post("/login", data=values).text
    browser.get("/login")
    answer = browser.post("/login", data={**values, "login_token": "guessed"})
    assert "out of date" in answer.text
    assert "dicomnode" not in browser.cookies


def test_a_session_begins_with_a_token_of_its_own(site: Site) -> None:
    """Whatever the browser was given before."""
    browser = site.browser()
    browser.cookies.set("dicomnode", "planted", domain="127.0.0.1")
    log_in(browser, "viewer")
    first = [cookie.value for cookie in browser.cookies.jar if cookie.name == "dicomnode"][-1]
    assert first != "planted"
    planted = site.browser()
    planted.cookies.set("dicomnode", "planted")
    assert planted.get("/studies").status_code == 303
    stolen = site.browser()
    stolen.cookies.set("dicomnode", str(first))
    assert stolen.get("/studies").status_code == 200
    log_in(stolen, "viewer")
    again = site.browser()
    again.cookies.set("dicomnode", str(first))
    assert again.get("/studies").status_code == 303, "logging in again ends the session before"


def test_sessions_end(site: Site) -> None:
    browser = site.logged_in(Role.VIEWER)
    site.now += timedelta(minutes=59)
    assert browser.get("/studies").status_code == 200
    site.now += timedelta(minutes=59)
    assert browser.get("/studies").status_code == 200
    site.now += timedelta(minutes=61)
    assert browser.get("/studies").headers["location"] == "/login?next=/studies"
    busy = site.logged_in(Role.VIEWER)
    for _ in range(11):
        site.now += timedelta(minutes=55)
        last = busy.get("/studies").status_code
    assert last == 303, "after ten hours in any case"


def test_what_happens_to_an_account_counts_at_once(site: Site) -> None:
    admin, viewer, reader = (
        site.logged_in(role) for role in (Role.ADMIN, Role.VIEWER, Role.READER)
    )
    program = site.program(Role.READER)
    disable_account(site.database, "reader", site.now)
    set_password(site.database, "viewer", QUICK.hash("another password"))
    assert reader.get("/studies").status_code == 303
    assert program.get("/api/v1/openapi.json").status_code == 401
    assert viewer.get("/studies").status_code == 303
    site.add_account("second", Role.ADMIN)
    set_role(site.database, "admin", Role.VIEWER)
    assert 'admin</a> <span class="muted">viewer' in admin.get("/studies").text


def test_what_changes_something_needs_the_token_of_a_form(site: Site) -> None:
    browser = site.logged_in(Role.ADMIN)
    for values in ({}, {"form_token": "guessed"}, {"form_token": ""}):
        assert browser.post("/logout", data=values).status_code == 403
    other = form(site.logged_in(Role.ADMIN))
    assert browser.post("/logout", data=other).status_code == 403
    assert browser.get("/studies").status_code == 200
    assert browser.post("/logout", data=form(browser)).status_code == 303
    assert browser.get("/studies").status_code == 303


def test_a_page_of_this_origin_is_not_enough_where_no_images_are_stored(site: Site) -> None:
    browser = site.logged_in(Role.ADMIN)
    for kind in ("multipart/related; boundary=x", "application/json"):
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": kind}
        assert browser.post("/logout", headers=headers, content=b"").status_code == 403


def test_a_script_sends_the_token_in_a_header(site: Site) -> None:
    browser = site.logged_in(Role.ADMIN)
    token = form(browser)["form_token"]
    assert browser.post("/logout", headers={"X-Form-Token": token}).status_code == 303


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("/studies?state=open", "/studies?state=open"),
        ("//evil.example/", HOME),
        ("/\\evil.example/", HOME),
        ("https://evil.example/", HOME),
        ("/\t/evil.example", HOME),
        ("", HOME),
    ],
)
def test_after_the_login_only_own_pages_are_gone_to(site: Site, wanted: str, reached: str) -> None:
    assert log_in(site.browser(), "viewer", next=wanted).headers["location"] == reached


def test_answers_carry_headers_that_keep_browsers_from_harm(site: Site) -> None:
    for path in ("/login", "/studies", "/static/node.css", "/nowhere", "/health"):
        headers = site.browser().get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "strict-transport-security" not in headers
        kept = headers["cache-control"]
        assert ("immutable" in kept) if path.startswith("/static") else (kept == "no-store")


def test_behind_https_cookies_never_leave_it(tmp_path: Path) -> None:
    web = WebSettings(public_url="https://node.example")
    site = Site(tmp_path, settings=Settings(web=web))
    browser = site.browser()
    browser.base_url = "https://node.example"
    answer = log_in(browser, "viewer")
    cookies = answer.headers.get_list("set-cookie")
    (cookie,) = [one for one in cookies if one.startswith("__Host-dicomnode=")]
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "strict-transport-security" in answer.headers
    site.database.dispose()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "10.0.0.1"])
def test_a_loopback_server_answers_to_loopback_names_only(site: Site, host: str) -> None:
    assert site.browser().get("/login", headers={"Host": host}).status_code == 421
    assert site.browser().get("/login", headers={"Host": "localhost:8080"}).status_code == 200


def test_large_bodies_are_not_read(site: Site) -> None:
    browser = site.browser()
    assert browser.post("/login", content=b"x" * 1_000_001).status_code == 413
    pieces = (b"x" * 100_000 for _ in range(11))
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.post("/login", content=pieces, headers=kind).status_code == 413


def test_every_deed_is_in_the_chain_and_a_change_shows(site: Site) -> None:
    browser = site.logged_in(Role.ADMIN)
    browser.post("/logout", data=form(browser))
    log_in(site.browser(), "admin", "wrong")
    assert deeds(site) == [
        ("admin", "login", ""),
        ("admin", "logout", ""),
        ("", "login.refused", "admin"),
    ]
    checked = check_chain(site.database)
    assert (checked.entries, checked.fault) == (3, "")


def test_nothing_of_a_page_is_inline(site: Site) -> None:
    page = site.logged_in(Role.ADMIN).get("/studies").text
    assert not re.search(r"<style|style=|<script(?![^>]*src=)| on[a-z]+=", page)
    assert hidden(page, "form_token")
