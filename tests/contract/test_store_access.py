"""Accounts, sessions, tokens, the chain of audit entries, workers; on both databases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from dicomnode.domain.access import AccountError, Role
from dicomnode.domain.audit import Deed
from dicomnode.domain.errors import StudyError
from dicomnode.store.accounts import (
    account_of_provider,
    accounts,
    add_account,
    credentials,
    disable_account,
    enable_account,
    has_admin,
)
from dicomnode.store.audit import AuditSearch, audit_entries, check_chain, record_deed
from dicomnode.store.database import Database
from dicomnode.store.leases import beat, join, leave
from dicomnode.store.logins import WINDOW, forgive, note_try
from dicomnode.store.sessions import (
    account_of_session,
    account_of_token,
    add_token,
    open_session,
)
from dicomnode.store.workers import (
    ask_to_drain,
    inference_pause,
    is_to_drain,
    pause_inference,
    queue_told,
    resume_inference,
)
from tests.contract.store_scenes import at, queued_job

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def deed(number: int = 1) -> Deed:
    return Deed(who="anna", address="127.0.0.1", what="study.read", on=f"1.2.{number}")


def add(database: Database, name: str = "anna", role: Role = Role.ADMIN) -> None:
    add_account(database, name=name, role=role, password_hash="hash", now=at(0))


def test_an_account_logs_in_until_it_is_closed(database: Database) -> None:
    assert not has_admin(database)
    add(database)
    add(database, "bob", Role.VIEWER)
    found = credentials(database, "bob")
    assert found is not None
    open_session(database, found.account, "s", "::1", at(0), lasts=timedelta(hours=1))
    add_token(database, "bob", "t", "export", at(0), lasts=None)
    hour = timedelta(hours=1)
    assert account_of_session(database, "s", at(10), idle=hour) is not None
    assert account_of_token(database, "t", at(10)) is not None
    disable_account(database, "bob", at(20))
    assert account_of_session(database, "s", at(21), idle=hour) is None
    assert account_of_token(database, "t", at(21)) is None
    assert credentials(database, "bob") is None
    enable_account(database, "bob")
    assert credentials(database, "bob") is not None
    assert account_of_token(database, "t", at(22)) is None, "a revoked token stays revoked"
    with pytest.raises(AccountError, match="last administrator"):
        disable_account(database, "anna", at(30))


def test_somebody_of_the_provider_is_known_by_subject_not_by_name(database: Database) -> None:
    add(database)
    values = {"subject": "https://login|42", "name": "carol", "now": at(0)}
    carol = account_of_provider(database, role=Role.VIEWER, **values)  # type: ignore[arg-type]
    again = account_of_provider(database, role=Role.READER, **values)  # type: ignore[arg-type]
    assert (again.id, again.role) == (carol.id, Role.READER)
    with pytest.raises(AccountError, match="belongs to another"):
        account_of_provider(
            database, subject="https://login|666", name="anna", role=Role.ADMIN, now=at(1)
        )
    disable_account(database, "carol", at(2))
    with pytest.raises(AccountError, match="disabled"):
        account_of_provider(database, role=Role.READER, **values)  # type: ignore[arg-type]
    assert [one.name for one in accounts(database)] == ["anna", "carol"]


def test_tries_are_counted_within_a_window(database: Database) -> None:
    limits = {"a": 2, "b": 9}
    assert [note_try(database, limits, at(0)) for _ in range(3)] == [True, True, False]
    assert note_try(database, {"b": 9}, at(0))
    assert note_try(database, limits, at(1) + WINDOW)
    assert note_try(database, limits, at(1) + WINDOW)
    forgive(database, "a")
    assert note_try(database, limits, at(1) + WINDOW)


class Undone(Exception):
    pass


def _harm(database: Database, harm: str, fault: str) -> None:
    with database.as_one():
        with database.writing() as connection:
            connection.execute(text(harm))
        assert fault in check_chain(database).fault
        raise Undone


def test_the_chain_shows_what_was_changed_removed_or_put_in(database: Database) -> None:
    for number in range(4):
        record_deed(database, deed(number), at(number))
    whole = check_chain(database)
    assert (whole.entries, whole.fault) == (4, "")
    assert whole.last_hash == audit_entries(database, AuditSearch(), 1)[0].hash
    for harm, fault in (
        ("UPDATE audit SET who = 'bob' WHERE id = 3", "entry 3 was changed"),
        ("DELETE FROM audit WHERE id = 2", "before entry 3 something was removed"),
    ):
        with pytest.raises(Undone):
            _harm(database, harm, fault)
    assert check_chain(database) == whole, "what was done together was undone together"


def test_deeds_at_once_make_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: record_deed(database, deed(number), at(0)), range(20)))
    checked = check_chain(database)
    assert (checked.entries, checked.fault) == (20, "")


def test_workers_come_are_asked_to_go_and_leave(database: Database) -> None:
    queued_job(database)
    lease = join(database, "gpu1", ["cuda:0"], at(0))
    beat(database, lease, at(50))
    assert [one.state for one in queue_told(database, at(100)).workers] == ["works"]
    assert [one.state for one in queue_told(database, at(200)).workers] == ["lost"]
    ask_to_drain(database, "gpu1", at(60))
    assert is_to_drain(database, "gpu1")
    leave(database, lease, at(70))
    with pytest.raises(StudyError, match="pause the queue"):
        ask_to_drain(database, "gpu1", at(80))
    join(database, "gpu1", ["cuda:0"], at(90))
    assert not is_to_drain(database, "gpu1"), "a new start is a new start"
    told = queue_told(database, at(91))
    assert (told.waiting_count, [one.algorithm for one in told.waiting]) == (1, ["lung_ct"])


def test_a_pause_may_be_said_twice(database: Database) -> None:
    pause_inference(database, by="anna", reason="new card", now=at(0))
    pause_inference(database, by="bob", reason="me too", now=at(5))
    pause = inference_pause(database)
    assert pause is not None
    assert (pause.by, pause.since) == ("anna", at(0))
    resume_inference(database, at(10))
    resume_inference(database, at(11))
    assert inference_pause(database) is None
