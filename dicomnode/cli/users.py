"""`users`: who may log in to the pages."""

import os
import socket
import sys
from datetime import UTC, datetime, timedelta
from getpass import getpass, getuser
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, settings_from
from dicomnode.domain.access import (
    AccessError,
    AccountError,
    Role,
    checked_account_name,
    checked_password,
)
from dicomnode.domain.audit import Deed

if TYPE_CHECKING:
    from dicomnode.store.database import Database

app = typer.Typer(help="Accounts of people and programs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the account.")]


def register(into: typer.Typer) -> None:
    """Add the command that is no part of `users`."""
    into.command()(audit)


def _opened(settings: SettingsPath) -> "Database":
    from dicomnode.index import open_database

    return open_database(settings_from(settings))


def _note(database: "Database", what: str, name: str, **facts: str) -> None:
    """What is done at the machine is in the audit trail too, under the system's user."""
    from dicomnode.store.audit import record_deed

    deed = Deed(who="", address=socket.gethostname(), what=what, on=name, facts=facts)
    record_deed(database, deed, datetime.now(UTC))


def _system_user() -> str:
    try:
        return getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _asked_password() -> str:
    """Typed twice at a terminal; otherwise one line of standard input."""
    if not sys.stdin.isatty():
        return checked_password(sys.stdin.readline().rstrip("\n"))
    typed = checked_password(getpass("password: "))
    if typed != getpass("once more: "):
        raise AccountError("the two were not the same")
    return typed


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What the account may do.")] = Role.VIEWER,
    settings: SettingsPath = None,
) -> None:
    """Make an account; asks for the password, or reads it from standard input.

    Example: dicomnode users add anna --role admin
    """
    from dicomnode.store.accounts import add_account
    from dicomnode.web.passwords import Passwords

    name = checked_account_name(name)
    database = _opened(settings)
    password_hash = Passwords().hash(_asked_password())
    with database.as_one():
        add_account(
            database, name=name, role=role, password_hash=password_hash, now=datetime.now(UTC)
        )
        _note(database, "account.added", name, role=role.value, by=_system_user())
    console.print(f"{name} may log in as {role.value}")


@app.command(name="list")
def list_accounts(settings: SettingsPath = None) -> None:
    """List accounts and tokens."""
    from dicomnode.store.accounts import accounts
    from dicomnode.store.sessions import api_tokens

    database = _opened(settings)
    table = Table(box=None)
    for column in ("name", "role", "from", "last login", "state"):
        table.add_column(column, overflow="fold")
    for one in accounts(database):
        state = "disabled" if one.disabled_at else "open"
        last = f"{one.last_login_at:%Y-%m-%d %H:%M}" if one.last_login_at else "never"
        table.add_row(one.name, one.role.value, one.source.value, last, state)
    console.print(table)
    tokens = Table(title="Tokens", title_justify="left", box=None)
    for column in ("number", "account", "for", "ends", "state"):
        tokens.add_column(column, overflow="fold")
    for token in api_tokens(database):
        ends = f"{token.expires_at:%Y-%m-%d}" if token.expires_at else "never"
        state = "revoked" if token.revoked_at else "open"
        tokens.add_row(str(token.id), token.account, token.label, ends, state)
    if tokens.row_count:
        console.print(tokens)


@app.command()
def password(name: Name, settings: SettingsPath = None) -> None:
    """Give an account another password; whoever is logged in with it is logged out.

    Example: dicomnode users password anna
    """
    from dicomnode.store.accounts import set_password
    from dicomnode.web.passwords import Passwords

    database = _opened(settings)
    password_hash = Passwords().hash(_asked_password())
    with database.as_one():
        set_password(database, checked_account_name(name), password_hash)
        _note(database, "account.password", name, by=_system_user())
    console.print(f"{name} has another password")


@app.command()
def role(
    name: Name,
    role: Annotated[Role, typer.Argument(help="What the account may do from now on.")],
    settings: SettingsPath = None,
) -> None:
    """Change what an account may do.

    Example: dicomnode users role anna reader
    """
    from dicomnode.store.accounts import set_role

    database = _opened(settings)
    with database.as_one():
        set_role(database, checked_account_name(name), role)
        _note(database, "account.role", name, role=role.value, by=_system_user())
    console.print(f"{name} is {role.value}")


@app.command()
def disable(
    name: Name,
    settings: SettingsPath = None,
    undo: Annotated[bool, typer.Option("--undo", help="Open it again.")] = False,
) -> None:
    """Close an account: sessions end, tokens are revoked.

    Example: dicomnode users disable anna
    """
    from dicomnode.store.accounts import disable_account, enable_account

    database = _opened(settings)
    name = checked_account_name(name)
    with database.as_one():
        if undo:
            enable_account(database, name)
        else:
            disable_account(database, name, datetime.now(UTC))
        what = "account.enabled" if undo else "account.disabled"
        _note(database, what, name, by=_system_user())
    console.print(f"{name} is {'open' if undo else 'closed'}")


@app.command()
def token(
    name: Name,
    label: Annotated[str, typer.Option("--for", help="What it is for, e.g. nightly export.")] = "",
    days: Annotated[int, typer.Option(help="Days until it ends; 0: when it is revoked.")] = 365,
    revoke: Annotated[int, typer.Option(help="Take back the token of this number.")] = 0,
    settings: SettingsPath = None,
) -> None:
    """Make a token for a program; it is shown this once, and may do what the account may.

    Example: dicomnode users token anna --for "nightly export"
    """
    from dicomnode.store.sessions import add_token, revoke_token
    from dicomnode.web.passwords import new_token, token_hash

    database, now = _opened(settings), datetime.now(UTC)
    name = checked_account_name(name)
    if revoke:
        with database.as_one():
            revoke_token(database, revoke, now)
            _note(database, "token.revoked", str(revoke), by=_system_user())
        console.print(f"token {revoke} is revoked")
        return
    made = new_token("dn_")
    lasts = timedelta(days=days) if days > 0 else None
    with database.as_one():
        add_token(database, name, token_hash(made), label, now, lasts=lasts)
        _note(database, "token.made", name, by=_system_user())
    console.print(made)


def audit(settings: SettingsPath = None) -> None:
    """Check that no entry of the audit trail was changed, removed or put in; print the last hash.

    Kept elsewhere, the line proves later that no entry was cut off the end.
    Example: dicomnode audit >> /mnt/elsewhere/audit.txt
    """
    from dicomnode.store.audit import check_chain

    checked = check_chain(_opened(settings))
    if checked.fault:
        raise AccessError(f"{checked.fault}; {checked.entries} entries before it are whole")
    console.print(f"{checked.entries} {checked.last_hash}", soft_wrap=True)
