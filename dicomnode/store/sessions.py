"""Sessions of browsers and tokens of programs; only hashes of both are kept."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from dicomnode.domain.access import Account, AccountError, AccountSource, Role
from dicomnode.store.database import Database
from dicomnode.store.tables import AccountRow, ApiTokenRow, WebSessionRow

# Writing down each use would cost a flush of the disk for each page.
NOTED_EVERY = timedelta(minutes=1)

# Each request asks one of these anew, so that what was withdrawn counts at once. They are made
# once: putting a query together takes longer than asking it.
_OF_SESSION = (
    select(AccountRow, WebSessionRow.seen_at)
    .join(WebSessionRow, WebSessionRow.account_id == AccountRow.id)
    .where(
        WebSessionRow.token_hash == bindparam("hash"),
        WebSessionRow.expires_at > bindparam("now"),
        WebSessionRow.seen_at > bindparam("idle_since"),
        AccountRow.disabled_at.is_(None),
    )
)
_OF_TOKEN = (
    select(AccountRow, ApiTokenRow.id.label("token"), ApiTokenRow.used_at)
    .join(ApiTokenRow, ApiTokenRow.account_id == AccountRow.id)
    .where(
        ApiTokenRow.token_hash == bindparam("hash"),
        ApiTokenRow.revoked_at.is_(None),
        ApiTokenRow.expires_at.is_(None) | (ApiTokenRow.expires_at > bindparam("now")),
        AccountRow.disabled_at.is_(None),
    )
)


def open_session(
    database: Database,
    account: Account,
    token_hash: str,
    address: str,
    now: datetime,
    *,
    lasts: timedelta,
) -> None:
    """Let a browser in; sessions that have ended are cleared away meanwhile."""
    with database.writing() as connection:
        connection.execute(delete(WebSessionRow).where(WebSessionRow.expires_at < now))
        values = {
            "token_hash": token_hash,
            "account_id": account.id,
            "address": address,
            "created_at": now,
            "seen_at": now,
            "expires_at": now + lasts,
        }
        connection.execute(insert(WebSessionRow).values(**values))
        connection.execute(
            update(AccountRow).where(AccountRow.id == account.id).values(last_login_at=now)
        )


def account_of_session(
    database: Database, token_hash: str, now: datetime, *, idle: timedelta
) -> Account | None:
    """Whose session it is; None: it has ended or never was."""
    asked = {"hash": token_hash, "now": now, "idle_since": now - idle}
    with database.reading() as connection:
        row = connection.execute(_OF_SESSION, asked).one_or_none()
    if row is None:
        return None
    if row.seen_at < now - NOTED_EVERY:
        with database.writing() as connection:
            connection.execute(
                update(WebSessionRow)
                .where(WebSessionRow.token_hash == token_hash)
                .values(seen_at=now)
            )
    return _account(row)


def close_session(database: Database, token_hash: str) -> None:
    """Log a browser out."""
    with database.writing() as connection:
        connection.execute(delete(WebSessionRow).where(WebSessionRow.token_hash == token_hash))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token as it is listed; the token itself is shown once, when it is made."""

    id: int
    account: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


def add_token(
    database: Database,
    account_name: str,
    token_hash: str,
    label: str,
    now: datetime,
    *,
    lasts: timedelta | None,
) -> None:
    """Keep a new token of an account.

    Raises:
        AccountError: there is no open account of this name.
    """
    with database.writing() as connection:
        account = connection.execute(
            select(AccountRow.id).where(
                AccountRow.name == account_name, AccountRow.disabled_at.is_(None)
            )
        ).scalar_one_or_none()
        if account is None:
            raise AccountError(f"there is no open account {account_name!r}")
        values = {
            "token_hash": token_hash,
            "account_id": account,
            "label": label,
            "created_at": now,
            "expires_at": now + lasts if lasts else None,
        }
        connection.execute(insert(ApiTokenRow).values(**values))


def api_tokens(database: Database) -> tuple[ApiToken, ...]:
    """All tokens, newest first."""
    query = (
        select(ApiTokenRow, AccountRow.name.label("account"))
        .join(AccountRow, AccountRow.id == ApiTokenRow.account_id)
        .order_by(ApiTokenRow.id.desc())
    )
    with database.reading() as connection:
        return tuple(
            ApiToken(
                id=row.id,
                account=row.account,
                label=row.label,
                created_at=row.created_at,
                expires_at=row.expires_at,
                revoked_at=row.revoked_at,
                used_at=row.used_at,
            )
            for row in connection.execute(query)
        )


def revoke_token(database: Database, number: int, now: datetime) -> None:
    """Take a token back.

    Raises:
        AccountError: there is none of this number, or it was revoked before.
    """
    with database.writing() as connection:
        revoked = connection.execute(
            update(ApiTokenRow)
            .where(ApiTokenRow.id == number, ApiTokenRow.revoked_at.is_(None))
            .values(revoked_at=now)
        ).rowcount
    if not revoked:
        raise AccountError(f"there is no token {number} that could be revoked")


def account_of_token(database: Database, token_hash: str, now: datetime) -> Account | None:
    """Whose token it is; None: it is not known, has ended or was revoked."""
    with database.reading() as connection:
        row = connection.execute(_OF_TOKEN, {"hash": token_hash, "now": now}).one_or_none()
    if row is None:
        return None
    if row.used_at is None or row.used_at < now - NOTED_EVERY:
        with database.writing() as connection:
            connection.execute(
                update(ApiTokenRow).where(ApiTokenRow.id == row.token).values(used_at=now)
            )
    return _account(row)


def _account(row: Any) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        source=AccountSource(row.source),
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        last_login_at=row.last_login_at,
    )
