"""What a read-only SQLite connection lets pass."""

import sqlite3
from collections.abc import Callable

LONGEST_VALUE = 8_000_000
"""Bytes of one value; a string that a query builds cannot grow beyond it."""
LONGEST_QUERY = 100_000

_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_FUNCTIONS = frozenset(
    {
        "abs",
        "avg",
        "bm25",
        "ceil",
        "ceiling",
        "char",
        "coalesce",
        "concat",
        "concat_ws",
        "count",
        "cume_dist",
        "date",
        "datetime",
        "dense_rank",
        "exp",
        "first_value",
        "floor",
        "format",
        "glob",
        "group_concat",
        "hex",
        "highlight",
        "ifnull",
        "iif",
        "instr",
        "json",
        "json_array",
        "json_array_length",
        "json_each",
        "json_extract",
        "json_group_array",
        "json_group_object",
        "json_object",
        "json_type",
        "json_valid",
        "julianday",
        "lag",
        "last_value",
        "lead",
        "length",
        "like",
        "ln",
        "log",
        "log10",
        "log2",
        "lower",
        "ltrim",
        "match",
        "max",
        "min",
        "mod",
        "nth_value",
        "ntile",
        "nullif",
        "percent_rank",
        "pow",
        "power",
        "printf",
        "quote",
        "rank",
        "replace",
        "round",
        "row_number",
        "rtrim",
        "sign",
        "snippet",
        "sqlite_version",
        "sqrt",
        "strftime",
        "string_agg",
        "substr",
        "substring",
        "sum",
        "time",
        "total",
        "trim",
        "trunc",
        "typeof",
        "unicode",
        "unixepoch",
        "upper",
    }
)
# The full-text search looks up by itself whether its index has changed.
_PRAGMAS = frozenset({"data_version"})

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


def bound_sizes(connection: sqlite3.Connection) -> None:
    """Bound what one statement can build up in memory."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, LONGEST_QUERY)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 50)
    # Sorting spills to disk instead of growing in memory.
    connection.execute("PRAGMA temp_store=FILE")
    connection.execute("PRAGMA cache_size=-32000")


def allow_reading(
    views: frozenset[str] | None, secret: frozenset[str], refused: Callable[[str], None]
) -> Authorizer:
    """An authorizer for SELECTs; with `views` only these may be named, `secret` tables never.

    What a view itself reads passes: SQLite names the view as the innermost source.
    """

    def authorize(
        action: int,
        first: str | None,
        second: str | None,
        _database: str | None,
        source: str | None,
    ) -> int:
        fault = _fault(action, first or "", second or "")
        # Without a column nothing but the number of rows is asked for.
        is_open = views is None or not second or first in views or source in views
        if action == sqlite3.SQLITE_READ and not is_open:
            fault = f"only the documented views may be read, not {first}"
        if action == sqlite3.SQLITE_READ and first in secret:
            fault = f"the table {first} is closed to questions"
        if fault is not None:
            refused(fault)
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    return authorize


def _fault(action: int, first: str, second: str) -> str | None:
    """Why an action is refused; None: it only reads."""
    if action in _READS or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS and not second):
        return None
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = second.lower() in _FUNCTIONS
        return None if allowed else f"the function {second} may not be used in a question"
    return "a question may only read: SELECT or WITH ... SELECT"
