"""Questions in SQL, answered without any way to change something.

SQLite: a connection of its own that is opened read-only, an authorizer that lets nothing but
reading pass, and a progress handler that ends what takes too long. PostgreSQL: a read-only
transaction of a login that is no superuser, with a statement time limit.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL

from dicomnode.domain.questions import (
    Answer,
    Bounds,
    Cell,
    QuestionRefused,
    QuestionTooLong,
)
from dicomnode.store.database import Database
from dicomnode.store.sqlite_reading import allow_reading, bound_sizes
from dicomnode.store.tables import SECRET_TABLES
from dicomnode.store.views import view_names

STEPS_BETWEEN_LOOKS = 10_000
"""Virtual machine steps of SQLite between two looks at the clock."""
WORK_MEMORY = "32MB"
ROWS_AT_ONCE = 100
FIRST_ROWS = 0.02
"""Part of an answer that PostgreSQL plans to be quick for: mostly the latest few are wanted."""
SECRETS = frozenset(table.__tablename__ for table in SECRET_TABLES)
"""Closed to questions: accounts, sessions, tokens, failed logins."""
USUAL = Bounds()


@contextmanager
def asked(
    database: Database,
    query: str,
    parameters: Mapping[str, Cell] | None = None,
    *,
    bounds: Bounds = USUAL,
    reader_url: str = "",
) -> Iterator[Answer]:
    """The answer to one SELECT with `:name` parameters, row by row; flat in memory.

    `reader_url` is the login for PostgreSQL; without it the index's own is used, which must not
    be a superuser's.

    Raises:
        QuestionRefused: it is not one readable SELECT.
        QuestionTooLong: it was stopped; may come while rows are read.
    """
    ask = _asked_sqlite if database.is_sqlite else _asked_postgresql
    with ask(database, query, dict(parameters or {}), bounds, reader_url) as answer:
        yield answer


@contextmanager
def _asked_sqlite(
    database: Database, query: str, parameters: dict[str, Cell], bounds: Bounds, _url: str
) -> Iterator[Answer]:
    connection = sqlite3.connect(
        f"file:{database.url.database}?mode=ro",
        uri=True,
        timeout=bounds.seconds,
        # A streamed answer is read by one thread after another, never by two at once.
        check_same_thread=False,
    )
    connection.isolation_level = None
    try:
        connection.execute("PRAGMA query_only=ON")
        bound_sizes(connection)
        views = view_names() if bounds.views_only else None
        refusals: list[str] = []
        late = _deadline(bounds.seconds)
        connection.set_progress_handler(late, STEPS_BETWEEN_LOOKS)
        with _sqlite_words(refusals, late):
            # Opened before the authorizer is there, which would not let its module start.
            connection.execute("SELECT 1 FROM report_search LIMIT 0")
            connection.set_authorizer(allow_reading(views, SECRETS, refusals.append))
            cursor = connection.execute(query, parameters)
            if cursor.description is None:
                raise QuestionRefused("a question is a SELECT")
            answer = Answer(columns=[each[0] for each in cursor.description], rows=iter(()))
        answer.rows = _sqlite_rows(cursor, answer, bounds.rows, refusals, late)
        yield answer
    finally:
        connection.close()


def _deadline(seconds: float) -> Callable[[], int]:
    end = time.monotonic() + seconds
    return lambda: int(time.monotonic() > end)


def _sqlite_rows(
    cursor: sqlite3.Cursor,
    answer: Answer,
    limit: int,
    refusals: list[str],
    late: Callable[[], int],
) -> Iterator[tuple[Cell, ...]]:
    with _sqlite_words(refusals, late):
        for number, row in enumerate(cursor):
            if number == limit:
                answer.truncated = True
                return
            yield tuple(_cell(value) for value in row)


@contextmanager
def _sqlite_words(refusals: list[str], late: Callable[[], int]) -> Iterator[None]:
    """SQLite's errors in words a person can act on."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        if late():
            raise QuestionTooLong("stopped: it took too long; narrow the question") from None
        raise QuestionRefused(str(exc)) from None
    except sqlite3.DataError as exc:
        raise QuestionTooLong(f"stopped: {exc}") from None
    except sqlite3.ProgrammingError as exc:
        if "one statement" in str(exc):
            raise QuestionRefused("one statement at a time") from None
        raise QuestionRefused(str(exc)) from None
    except (sqlite3.DatabaseError, sqlite3.Warning) as exc:
        raise QuestionRefused(refusals[-1] if refusals else str(exc)) from None


@contextmanager
def _asked_postgresql(
    database: Database, query: str, parameters: dict[str, Cell], bounds: Bounds, reader_url: str
) -> Iterator[Answer]:
    with _postgresql_words(), psycopg.connect(_conninfo(database, reader_url)) as connection:
        connection.read_only = True
        _limit(connection, bounds.seconds)
        # A cursor on the server: planned for its first rows, and no more is made than is fetched.
        with connection.cursor(name="answer", scrollable=False) as cursor:
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(_percent_style(query, parameters).encode(), parameters)
            if cursor.description is None:
                raise QuestionRefused("a question is a SELECT")
            answer = Answer(columns=[each.name for each in cursor.description], rows=iter(()))
            late = _deadline(bounds.seconds)
            answer.rows = _postgresql_rows(cursor, answer, bounds.rows, late)
            yield answer


def _limit(connection: psycopg.Connection, seconds: float) -> None:
    """Limits for this transaction; a superuser's login could lift them."""
    row = connection.execute(
        "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"
    ).fetchone()
    if row is None or row[0]:
        raise QuestionRefused(
            "the database login is a superuser's: give a login that may only read "
            "(DICOMNODE_READER_URL, see docs/questions.md)"
        )
    open_to_it = connection.execute(
        "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relkind = 'r'"
        " AND has_any_column_privilege(session_user, oid, 'SELECT')",
        (list(SECRETS),),
    ).fetchall()
    if open_to_it:
        raise QuestionRefused(
            f"the database login can read {', '.join(sorted(one[0] for one in open_to_it))}: "
            "give a login that cannot (DICOMNODE_READER_URL, see docs/questions.md)"
        )
    milliseconds = sql.Literal(int(seconds * 1000))
    connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(milliseconds))
    connection.execute(sql.SQL("SET LOCAL work_mem = {}").format(sql.Literal(WORK_MEMORY)))
    # Compiling a query takes longer than reading its first rows.
    connection.execute("SET LOCAL jit = off")
    connection.execute(sql.SQL("SET LOCAL cursor_tuple_fraction = {}").format(FIRST_ROWS))


def _conninfo(database: Database, reader_url: str) -> str:
    url: URL = database.url.set(drivername="postgresql")
    return reader_url.replace("+psycopg", "", 1) or url.render_as_string(hide_password=False)


def _percent_style(query: str, parameters: Mapping[str, Cell]) -> str:
    """`:name` as psycopg writes it; only for the names there are, so that `::text` stays."""
    query = query.replace("%", "%%")
    for name in parameters:
        query = re.sub(rf"(?<![:\w]):{re.escape(name)}\b", f"%({name})s", query)
    return query


def _postgresql_rows(
    cursor: Iterable[tuple[object, ...]], answer: Answer, limit: int, late: Callable[[], int]
) -> Iterator[tuple[Cell, ...]]:
    with _postgresql_words():
        for number, row in enumerate(cursor):
            if number == limit:
                answer.truncated = True
                return
            # The server's limit is for each fetch; this one is for them all.
            if number % ROWS_AT_ONCE == 0 and late():
                raise QuestionTooLong("stopped: it took too long; narrow the question")
            yield tuple(_cell(value) for value in row)


@contextmanager
def _postgresql_words() -> Iterator[None]:
    """PostgreSQL's errors in words a person can act on."""
    try:
        yield
    except psycopg.errors.QueryCanceled:
        raise QuestionTooLong("stopped: it took too long; narrow the question") from None
    except psycopg.errors.ReadOnlySqlTransaction:
        raise QuestionRefused("a question may only read") from None
    except psycopg.errors.InsufficientPrivilege as exc:
        raise QuestionRefused(str(exc.diag.message_primary)) from None
    except psycopg.Error as exc:
        said = exc.diag.message_primary or type(exc).__name__
        if "multiple commands" in said:
            raise QuestionRefused("one statement at a time") from None
        raise QuestionRefused(said) from None


def _cell(value: object) -> Cell:
    """A value as it can be written down anywhere."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return float(value)
        case datetime():
            return value.astimezone(UTC).isoformat(sep=" ", timespec="seconds")
        case date():
            return value.isoformat()
        case bytes() | memoryview():
            return f"({len(value)} bytes)"
    return str(value)
