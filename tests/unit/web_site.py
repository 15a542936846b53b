"""The web application over a small index, with somebody logged in for each role.

Use by `pytest_plugins = ["tests.contract.databases"]` and the fixture `site` made of `Site`.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from argon2 import PasswordHasher
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from dicomnode.domain.access import Role
from dicomnode.settings import Settings
from dicomnode.store.accounts import add_account
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.store.sessions import add_token
from dicomnode.web.app import create_app
from dicomnode.web.passwords import Passwords, new_token, token_hash
from tests.contract.store_scenes import NOON

PASSWORD = "correct horse battery"
HOME = "http://127.0.0.1"
# The weakest there is: nothing is to be guessed here.
QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def keep_account(database: Database, name: str, role: Role, password: str = PASSWORD) -> None:
    hashed = QUICK.hash(password)
    add_account(database, name=name, role=role, password_hash=hashed, now=NOON)


@cache
def migrated() -> bytes:
    """An index with three accounts; making one for each test would take most of the time."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "index.sqlite"
        database = Database(f"sqlite:///{file}", Path(folder))
        upgrade(database)
        with database.as_one():
            for role in Role:
                keep_account(database, role.value, role)
        # Closing the last connection brings the write-ahead log into the file.
        database.dispose()
        return file.read_bytes()


@dataclass
class Site:
    """An application whose clock stands still until it is told."""

    folder: Path
    settings: Settings = field(default_factory=Settings)
    now: datetime = NOON

    def __post_init__(self) -> None:
        self.settings = self.settings.model_copy(update={"data_dir": self.folder})
        (self.folder / "index.sqlite").write_bytes(migrated())
        self.database = Database(self.settings.index_url, self.folder)
        self.app = self.restarted()

    def restarted(self) -> FastAPI:
        """A second process over the same index."""
        return create_app(self.settings, self.database, clock=lambda: self.now, passwords=QUICK)

    def add_account(self, name: str, role: Role, password: str = PASSWORD) -> None:
        """Somebody who may log in."""
        keep_account(self.database, name, role, password)

    def browser(self) -> TestClient:
        """One that is not logged in."""
        return TestClient(self.app, base_url=HOME, follow_redirects=False)

    def logged_in(self, role: Role) -> TestClient:
        """A browser of the account named after its role; `form(browser)` has its token."""
        browser = self.browser()
        answer = log_in(browser, role.value)
        assert answer.status_code == 303, answer.text
        return browser

    def program(self, role: Role) -> TestClient:
        """A program with a token of that account."""
        token = new_token("dn_")
        add_token(self.database, role.value, token_hash(token), "test", self.now, lasts=None)
        client = self.browser()
        client.headers["Authorization"] = f"Bearer {token}"
        return client


def log_in(browser: TestClient, name: str, password: str = PASSWORD, **more: str) -> Response:
    """Send the form of the login page."""
    page = browser.get("/login").text
    values = {"login_token": hidden(page, "login_token"), "name": name, "password": password}
    return browser.post("/login", data={**values, **more})


def hidden(page: str, name: str) -> str:
    """Value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return found[1]


def form(browser: TestClient, page: str = "/studies") -> dict[str, str]:
    """What a form of this session has to carry."""
    return {"form_token": hidden(browser.get(page).text, "form_token")}
