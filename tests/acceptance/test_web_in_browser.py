"""Every page in a real browser: nothing is blocked or fails, nothing is wider than the window."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from dicomnode.domain.access import Role
from dicomnode.settings import Settings, WebSettings
from dicomnode.store.accounts import add_account
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.web.serving import WebServer
from tests.acceptance.small_pictures import save_small
from tests.acceptance.web_showcase import furnish
from tests.unit.web_site import PASSWORD, QUICK

pytestmark = pytest.mark.timeout(1200)

PICTURES = os.environ.get("DICOMNODE_SAVE_PICTURES")
"""A folder; set it to renew the documentation's pictures."""
SIZE = {"width": 1280, "height": 860}
NARROW = {"width": 640, "height": 430}
"""The same screen at 200 % (WCAG 1.4.10 asks for no sideways scrolling at 400 %)."""
ADDRESSES = {
    "overview": "/overview",
    "results": "/results",
    "result": "/results/{job}",
    "reports": "/reports?label=effusion",
    "report": "/reports/8",
    "disagreements": "/reports/disagreements",
    "sql": "/sql/saved/mentioned_but_not_by_model?run=true&p_label=cardiomegaly",
    "rules": "/rules",
}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A site with an administrator, and a browser."""

    url: str
    browser: Browser
    job: str

    def page(self, scheme: str, said: list[str]) -> Page:
        """Somebody logged in; whatever the browser complains of goes to `said`."""
        context = self.browser.new_context(
            base_url=self.url,
            viewport=SIZE,  # type: ignore[arg-type]
            color_scheme=scheme,  # type: ignore[arg-type]
            timezone_id="UTC",
        )
        page = context.new_page()

        def listen(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                said.append(message.text)

        page.on("console", listen)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto("/login")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/overview")
        return page


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    folder = tmp_path_factory.mktemp("site")
    now = datetime.now(UTC)
    settings = Settings(data_dir=folder, web=WebSettings(port=0))
    database = Database(settings.index_url, folder)
    upgrade(database)
    hashed = QUICK.hash(PASSWORD)
    add_account(database, name="anna", role=Role.ADMIN, password_hash=hashed, now=now)
    job = furnish(database, now)
    server = WebServer(settings, database)
    server.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield Served(url=f"http://127.0.0.1:{server.port}", browser=browser, job=job)
        browser.close()
    server.stop()
    database.dispose()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_whole_in_a_browser(served: Served, scheme: str) -> None:
    said: list[str] = []
    page = served.page(scheme, said)
    for name, address in ADDRESSES.items():
        answer = page.goto(address.format(job=served.job), wait_until="networkidle")
        assert answer is not None
        assert answer.status == 200, name
        assert (
            page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length")
            == 0
        )
        if PICTURES:
            save_small(page, Path(PICTURES) / f"web_{name}_{scheme}.png")
        page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the window at 200 %"
        page.set_viewport_size(SIZE)  # type: ignore[arg-type]
    assert said == []


def test_a_reader_works_with_the_keyboard_alone(served: Served) -> None:
    said: list[str] = []
    page = served.page("light", said)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.goto(f"/results/{served.job}")
    page.get_by_role("button", name="Accept").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**#f1")
    assert "accepted" in page.locator("#f1").inner_text()
    assert said == []
