"""Conditions of a search as SQL that uses an index and means the same on both databases."""

import re
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_

from dicomnode.domain.catalogue import (
    NUMBERS,
    PERSON_NAMES,
    Between,
    Condition,
    Like,
    OneOf,
    search_key,
)
from dicomnode.store.database import Database

_LAST = "\U0010ffff"
"""Sorts behind every text."""
_FIRST_EASTERN = "\u1100"


def meets(
    database: Database, column: Any, keyword: str, condition: Condition
) -> ColumnElement[bool]:
    """`column`, which holds `keyword`, meets `condition`."""
    if keyword in PERSON_NAMES:
        return _is_named(database, column, condition)
    match condition:
        case OneOf(values=values) if keyword in NUMBERS:
            return _or_nothing([column == int(one) for one in values])
        case OneOf(values=values):
            wanted: ColumnElement[bool] = column.in_(values)
            return wanted
        case Like(pattern=pattern):
            return _fits(database, column, pattern)
        case Between(first=first, last=last):
            return and_(
                column != "",
                *([column >= first] if first else []),
                *([column <= last] if last else []),
            )


def _or_nothing(conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    return or_(false(), *conditions)


def _is_named(database: Database, column: Any, condition: Condition) -> ColumnElement[bool]:
    """A person's name, in any of its groups (PS3.5 6.2.1), whatever its case."""
    match condition:
        case OneOf(values=values):
            patterns = list(values)
        case Like(pattern=pattern):
            patterns = [pattern]
        case Between():
            return false()
    return _or_nothing([_one_name(database, column, search_key(one)) for one in patterns])


def _one_name(database: Database, column: Any, pattern: str) -> ColumnElement[bool]:
    alone = _fits(database, column, pattern)
    first = _fits(database, column, f"{pattern}=*")
    if "=" in pattern or all(letter < _FIRST_EASTERN for letter in pattern):
        # Ideographic and phonetic groups come behind; looking for them would leave the index.
        return alone | first
    return (
        alone
        | first
        | _fits(database, column, f"*={pattern}")
        | _fits(database, column, f"*={pattern}=*")
    )


def _fits(database: Database, column: Any, pattern: str) -> ColumnElement[bool]:
    """The wildcards of DICOM; what stands before the first is a range of the index."""
    prefix = re.split(r"[*?]", pattern, maxsplit=1)[0]
    if prefix == pattern:
        same: ColumnElement[bool] = column == pattern
        return same
    if database.is_sqlite:
        # LIKE of SQLite does not tell a from A.
        fits = column.bool_op("GLOB")(pattern.replace("[", "[[]"))
    else:
        escaped = pattern.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        fits = column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")
    within = [column >= prefix, column < prefix + _LAST] if prefix else []
    return and_(*within, fits)
