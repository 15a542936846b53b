"""Accounts: who may log in, and with what."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from dicomnode.domain.access import Account, AccountError, AccountSource, Role
from dicomnode.store.database import Database
from dicomnode.store.tables import AccountRow, ApiTokenRow, WebSessionRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a login is checked against."""

    account: Account
    password_hash: str | None


def add_account(
    database: Database, *, name: str, role: Role, password_hash: str, now: datetime
) -> Account:
    """Make a local account.

    Raises:
        AccountError: the name is taken.
    """
    with database.writing() as connection:
        if _find(connection, name) is not None:
            raise AccountError(f"there is an account {name!r} already")
        values = {
            "name": name,
            "role": role.value,
            "source": AccountSource.LOCAL.value,
            "password_hash": password_hash,
            "created_at": now,
        }
        connection.execute(insert(AccountRow).values(**values))
        return _account(_found(connection, name))


def accounts(database: Database) -> tuple[Account, ...]:
    """All of them, by name."""
    with database.reading() as connection:
        rows = connection.execute(select(AccountRow).order_by(AccountRow.name))
        return tuple(_account(row) for row in rows)


def has_admin(database: Database) -> bool:
    """True if there is somebody who can let others in."""
    query = select(func.count()).where(
        AccountRow.role == Role.ADMIN.value, AccountRow.disabled_at.is_(None)
    )
    with database.reading() as connection:
        return bool(connection.scalar(query))


def credentials(database: Database, name: str) -> Credentials | None:
    """The open account of this name; None: there is none, or it is disabled."""
    with database.reading() as connection:
        row = _find(connection, name)
    if row is None or row.disabled_at is not None:
        return None
    return Credentials(account=_account(row), password_hash=row.password_hash)


def set_password(database: Database, name: str, password_hash: str) -> None:
    """Give an account another password; whoever is logged in with it is logged out.

    Raises:
        AccountError: there is no local account of this name.
    """
    with database.writing() as connection:
        row = _found(connection, name)
        if row.source != AccountSource.LOCAL.value:
            raise AccountError(f"{name!r} logs in by the provider and has no password here")
        _change(connection, row.id, password_hash=password_hash)
        _end_sessions(connection, row.id)


def set_role(database: Database, name: str, role: Role) -> None:
    """Change what an account may do, at once also for who is logged in.

    Raises:
        AccountError: there is no such account, or nobody else could let others in.
    """
    with database.writing() as connection:
        row = _found(connection, name)
        if role is not Role.ADMIN:
            _keep_an_admin(connection, row)
        _change(connection, row.id, role=role.value)


def disable_account(database: Database, name: str, now: datetime) -> None:
    """Close an account: its sessions end, its tokens are revoked.

    Raises:
        AccountError: there is no such account, or nobody else could let others in.
    """
    with database.writing() as connection:
        row = _found(connection, name)
        _keep_an_admin(connection, row)
        _change(connection, row.id, disabled_at=now)
        _end_sessions(connection, row.id)
        connection.execute(
            update(ApiTokenRow)
            .where(ApiTokenRow.account_id == row.id, ApiTokenRow.revoked_at.is_(None))
            .values(revoked_at=now)
        )


def enable_account(database: Database, name: str) -> None:
    """Open a closed account again; its tokens stay revoked.

    Raises:
        AccountError: there is no such account.
    """
    with database.writing() as connection:
        _change(connection, _found(connection, name).id, disabled_at=None)


def account_of_provider(
    database: Database, *, subject: str, name: str, role: Role, now: datetime
) -> Account:
    """The account of somebody the OpenID Connect provider vouches for, made at the first login.

    The role is what the provider says now; the name stays the one of the first login.

    Raises:
        AccountError: it was disabled here, or its name belongs to another account.
    """
    by_subject = select(AccountRow).where(AccountRow.subject == subject)
    with database.writing() as connection:
        row = connection.execute(by_subject).one_or_none()
        if row is None:
            if _find(connection, name) is not None:
                raise AccountError(f"the name {name!r} belongs to another account of this node")
            values = {
                "name": name,
                "role": role.value,
                "source": AccountSource.OIDC.value,
                "subject": subject,
                "created_at": now,
            }
            connection.execute(insert(AccountRow).values(**values))
        elif row.disabled_at is not None:
            raise AccountError(f"the account {row.name!r} is disabled")
        else:
            _change(connection, row.id, role=role.value)
        return _account(connection.execute(by_subject).one())


def _find(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(AccountRow).where(AccountRow.name == name)).one_or_none()


def _found(connection: Connection, name: str) -> Row[Any]:
    row = _find(connection, name)
    if row is None:
        raise AccountError(f"there is no account {name!r}")
    return row


def _keep_an_admin(connection: Connection, row: Row[Any]) -> None:
    others = select(func.count()).where(
        AccountRow.role == Role.ADMIN.value,
        AccountRow.disabled_at.is_(None),
        AccountRow.id != row.id,
    )
    is_admin = row.role == Role.ADMIN.value and row.disabled_at is None
    if is_admin and not connection.scalar(others):
        raise AccountError(f"{row.name!r} is the last administrator")


def _change(connection: Connection, account_id: int, **values: object) -> None:
    connection.execute(update(AccountRow).where(AccountRow.id == account_id).values(**values))


def _end_sessions(connection: Connection, account_id: int) -> None:
    connection.execute(delete(WebSessionRow).where(WebSessionRow.account_id == account_id))


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        source=AccountSource(row.source),
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        last_login_at=row.last_login_at,
    )
