"""`users`, `audit`, `pause`, `resume`: what a person types at the machine of the node."""

import io
import re
from pathlib import Path

import pytest

from dicomnode.cli import main
from dicomnode.index import open_database
from dicomnode.settings import load_settings
from dicomnode.store.audit import AuditSearch, audit_entries
from dicomnode.store.database import Database
from dicomnode.store.sessions import account_of_token
from dicomnode.store.workers import inference_pause
from dicomnode.web.passwords import token_hash
from tests.contract.store_scenes import NOON


class Terminal:
    """A folder, and what a command said and how it ended."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *arguments: str, typed: str = "") -> tuple[int, str]:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = 0
        try:
            main(list(arguments))
        except SystemExit as exc:
            code = int(exc.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out + printed.err

    @property
    def database(self) -> Database:
        return open_database(load_settings(None, {}))


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal(capsys, monkeypatch)


def test_an_account_is_made_changed_and_closed(terminal: Terminal) -> None:
    words = "some words in a row\n"
    assert terminal.run("users", "add", "Anna", "--role", "admin", typed=words) == (
        0,
        "anna may log in as admin\n",
    )
    assert "12 to 256 characters" in terminal.run("users", "add", "bob", typed="short\n")[1]
    assert terminal.run("users", "add", "bob", typed=words)[0] == 0
    assert terminal.run("users", "role", "bob", "reader")[0] == 0
    assert terminal.run("users", "password", "bob", typed="other words in a row\n")[0] == 0
    assert "last administrator" in terminal.run("users", "disable", "anna")[1]
    assert terminal.run("users", "disable", "bob")[0] == 0
    said = terminal.run("users", "list")[1]
    assert re.search(r"anna\s+admin\s+local\s+never\s+open", said)
    assert re.search(r"bob\s+reader\s+local\s+never\s+disabled", said)
    database = terminal.database
    deeds = [one.deed.what for one in audit_entries(database, AuditSearch(), 10)]
    database.dispose()
    assert deeds[::-1] == [
        "account.added",
        "account.added",
        "account.role",
        "account.password",
        "account.disabled",
    ]


def test_a_token_is_printed_alone_so_that_a_script_can_keep_it(terminal: Terminal) -> None:
    terminal.run("users", "add", "anna", typed="some words in a row\n")
    code, printed = terminal.run("users", "token", "anna", "--for", "export")
    token = printed.strip()
    database = terminal.database
    assert (code, token[:3]) == (0, "dn_")
    assert account_of_token(database, token_hash(token), NOON) is not None
    assert terminal.run("users", "token", "anna", "--revoke", "1")[0] == 0
    assert account_of_token(database, token_hash(token), NOON) is None
    database.dispose()


def test_the_audit_trail_is_checked(terminal: Terminal) -> None:
    terminal.run("users", "add", "anna", typed="some words in a row\n")
    code, printed = terminal.run("audit")
    assert code == 0
    assert re.fullmatch(r"1 [0-9a-f]{64}\n", printed)
    database = terminal.database
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE audit SET \"on\" = 'bob'")
    database.dispose()
    code, printed = terminal.run("audit")
    assert (code, "entry 1 was changed" in printed) == (1, True)


def test_models_are_paused_with_a_reason(terminal: Terminal) -> None:
    database = terminal.database
    assert terminal.run("pause", "--reason", "new card")[0] == 0
    pause = inference_pause(database)
    assert pause is not None
    assert pause.reason == "new card"
    assert "new card" in terminal.run("status")[1]
    assert terminal.run("resume")[0] == 0
    assert inference_pause(database) is None
    database.dispose()
