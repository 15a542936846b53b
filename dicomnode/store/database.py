"""Opening the index: SQLite in WAL mode with full syncs, or PostgreSQL."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from dicomnode.domain.errors import ConfigError, StoreError, StoreUnavailable, ValueRefused
from dicomnode.domain.lines import database_line


class Database:
    """One engine, with transactions that say whether they write.

    `path_root` is the data folder that `path` columns are relative to.

    Raises:
        ConfigError: the URL cannot be read.
    """

    def __init__(self, url: str, path_root: Path) -> None:
        try:
            self.url = make_url(url)
        except (ArgumentError, ValueError):
            # Not quoted: it may hold a password.
            raise ConfigError(["the database URL cannot be read"]) from None
        self.path_root = path_root
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgresql_engine(url)
        self._joined = threading.local()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, on one snapshot."""
        joined: Connection | None = getattr(self._joined, "connection", None)
        if joined is not None:
            yield joined
            return
        with _translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; committed and flushed when the block ends without error.

        On SQLite the write lock is taken at once (BEGIN IMMEDIATE), so that a transaction which
        read first cannot fail half-way because another one wrote.
        """
        joined: Connection | None = getattr(self._joined, "connection", None)
        if joined is not None:
            yield joined
            return
        options: dict[str, Any] = {"begin_immediate": True}
        with _translated(), self.engine.connect() as connection:
            writer = connection.execution_options(**options)
            with writer.begin():
                check: Callable[[Connection], None] | None = getattr(self._joined, "check", None)
                if check is not None:
                    check(writer)
                yield writer

    @contextmanager
    def guarded(self, check: Callable[[Connection], None]) -> Iterator[None]:
        """Before this thread writes anything in the block, `check` is asked, in its transaction.

        If it raises, nothing is written.
        """
        self._joined.check = check
        try:
            yield
        finally:
            self._joined.check = None

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Whatever the block writes, by however many calls, is one commit, or none at an error."""
        with self.writing() as connection:
            self._joined.connection = connection
            try:
                yield
            finally:
                self._joined.connection = None

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def relative(self, path: Path) -> str:
        """`path` as it is stored."""
        return path.relative_to(self.path_root).as_posix()

    def absolute(self, stored: str) -> Path:
        """A stored path as it is on this machine."""
        return self.path_root / stored


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30.0}, pool_size=10, max_overflow=20)

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        assert isinstance(connection, sqlite3.Connection)
        # The driver's own idea of when to begin is switched off: `_begin` below says it.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit returns only after the log is on disk. C-STORE success rests on it.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("begin_immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _postgresql_engine(url: str) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=10,
        isolation_level="READ COMMITTED",
        connect_args=database_line(make_url(url).query),
    )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's errors into ours, without parameters: they may name a patient."""
    try:
        yield
    except OperationalError as exc:
        raise StoreUnavailable(f"database: {type(exc.orig).__name__}: {exc.orig}") from None
    except DataError as exc:
        # E.g. a null character, which PostgreSQL has no way to keep.
        raise ValueRefused(f"database: {type(exc.orig).__name__}: a value cannot be kept") from None
    except DBAPIError as exc:
        raise StoreError(f"database: {type(exc.orig).__name__} in {exc.statement}") from None
    except PoolTimeout:
        raise StoreUnavailable("database: every connection was busy for too long") from None
