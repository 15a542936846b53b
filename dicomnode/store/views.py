"""The documented views of `sql/views`, made anew whenever their text has changed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from sqlalchemy import Connection, text

from dicomnode.shipped import shipped

_HEAD = re.compile(r"^-- (view|version|purpose|column (\w+)): (.*)$")
_DIALECT = re.compile(r"^-- (sqlite|postgresql):$")
VERSIONS = "view_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One documented view."""

    name: str
    version: int
    purpose: str
    columns: Mapping[str, str]
    """Name -> what it is."""
    sqlite: str
    """The SELECT behind it."""
    postgresql: str


@cache
def views() -> tuple[View, ...]:
    """Every shipped view, in the order they build on each other (their file names)."""
    folder = shipped("sql") / "views"
    return tuple(read_view(path.read_text("utf-8")) for path in sorted(folder.glob("*.sql")))


@cache
def view_names() -> frozenset[str]:
    """What a question that is limited to views may name."""
    return frozenset(view.name for view in views())


def read_view(source: str) -> View:
    """A view from its file: a head of comments, then a SELECT, or one for each database."""
    head: dict[str, str] = {}
    columns: dict[str, str] = {}
    for line in source.splitlines():
        match = _HEAD.match(line)
        if match and match.group(2):
            columns[match.group(2)] = match.group(3)
        elif match:
            head[match.group(1)] = match.group(3)
    sqlite, postgresql = bodies(source)
    return View(
        name=head["view"],
        version=int(head["version"]),
        purpose=head["purpose"],
        columns=columns,
        sqlite=sqlite,
        postgresql=postgresql,
    )


def bodies(source: str) -> tuple[str, str]:
    """The statement for SQLite and the one for PostgreSQL; the same where only one stands."""
    found: dict[str, list[str]] = {"both": [], "sqlite": [], "postgresql": []}
    part = "both"
    for line in source.splitlines():
        match = _DIALECT.match(line)
        if match:
            part = match.group(1)
        elif not line.startswith("--"):
            found[part].append(line)
    both = "\n".join(found["both"]).strip()
    if both:
        return both, both
    return "\n".join(found["sqlite"]).strip(), "\n".join(found["postgresql"]).strip()


def refresh_views(connection: Connection) -> bool:
    """Make all views anew if their text is not the one the database has; True if it was not."""
    is_sqlite = connection.dialect.name == "sqlite"
    statements = {one.name: one.sqlite if is_sqlite else one.postgresql for one in views()}
    digest = sha256("\0".join(f"{k}\0{v}" for k, v in statements.items()).encode()).hexdigest()
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {VERSIONS} (digest char(64), names text)"))
    had = connection.execute(text(f"SELECT digest, names FROM {VERSIONS}")).one_or_none()  # noqa: S608
    if had is not None and had.digest == digest:
        return False
    for name in reversed((had.names if had else "").split()):
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
    for name, statement in statements.items():
        # No parameters here: the driver must not see any in `'%Y'` or `::text`.
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {statement}")
    connection.execute(text(f"DELETE FROM {VERSIONS}"))  # noqa: S608
    connection.execute(
        text(f"INSERT INTO {VERSIONS} VALUES (:digest, :names)"),  # noqa: S608
        {"digest": digest, "names": " ".join(statements)},
    )
    return True
