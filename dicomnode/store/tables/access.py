"""Tables of who may come in, and of what they did. Questions in SQL cannot reach the first four."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dicomnode.store.tables.base import Base, RowId


class AccountRow(Base):
    """Somebody who may log in."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    name: Mapped[str] = mapped_column(String(64), unique=True)
    """In lower case."""
    role: Mapped[str] = mapped_column(String(8))
    """viewer, reader or admin."""
    source: Mapped[str] = mapped_column(String(8))
    """local or oidc."""
    password_hash: Mapped[str | None] = mapped_column(Text)
    """Argon2id; null: no login by password."""
    subject: Mapped[str | None] = mapped_column(Text, unique=True)
    """Issuer and subject at the OpenID Connect provider."""
    created_at: Mapped[datetime]
    """When it was made."""
    disabled_at: Mapped[datetime | None]
    """When it was closed; null while open."""
    last_login_at: Mapped[datetime | None]
    """When somebody last logged in with it."""


class WebSessionRow(Base):
    """A browser that is logged in."""

    __tablename__ = "web_session"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of what the cookie holds, hex."""
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    """Whose it is."""
    address: Mapped[str] = mapped_column(String(64))
    """Where the login came from."""
    created_at: Mapped[datetime]
    """When it was opened."""
    seen_at: Mapped[datetime]
    """When it was last used, to the minute."""
    expires_at: Mapped[datetime]
    """When it ends in any case."""


class ApiTokenRow(Base):
    """A token for programs, in place of a password."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number to name it by."""
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the token, hex."""
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    """Whose it is; it may do what the account may."""
    label: Mapped[str] = mapped_column(Text)
    """What it is for."""
    created_at: Mapped[datetime]
    """When it was made."""
    expires_at: Mapped[datetime | None]
    """When it ends; null: when it is revoked."""
    revoked_at: Mapped[datetime | None]
    """When it was taken back."""
    used_at: Mapped[datetime | None]
    """When it was last used, to the minute."""


class LoginTryRow(Base):
    """A login that failed, counted for a while so that passwords cannot be guessed."""

    __tablename__ = "login_try"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Number of the row."""
    key: Mapped[str] = mapped_column(String(80))
    """Address, or SHA-256 of the account name: people type passwords into it."""
    at: Mapped[datetime]
    """When it was tried."""

    __table_args__ = (Index("ix_login_try", "key", "at"),)


class AuditRow(Base):
    """Who did what, on what, when and from where; each row holds the hash of the one before."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    """Order of entries."""
    at: Mapped[datetime] = mapped_column(index=True)
    """When."""
    who: Mapped[str] = mapped_column(String(64), index=True)
    """Name of the account; empty: nobody was logged in."""
    address: Mapped[str] = mapped_column(String(64))
    """IP address it came from."""
    what: Mapped[str] = mapped_column(String(40), index=True)
    """E.g. `job.rerun`."""
    on: Mapped[str] = mapped_column(Text)
    """Study UID, job id, account name, ..."""
    facts: Mapped[dict[str, Any]]
    """Details."""
    previous_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """Hash of the entry before; unique, so that the chain cannot fork."""
    hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 over that hash and every value of this row, hex."""


SECRET_TABLES = (AccountRow, WebSessionRow, ApiTokenRow, LoginTryRow)
