"""The query of a search (PS3.18 8.3.4) to conditions; decided without a database."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from dicomnode.domain.catalogue import (
    NUMBERS,
    SEARCHABLE,
    Between,
    Condition,
    Level,
    Like,
    OneOf,
    Search,
)
from dicomnode.domain.errors import InvalidUid
from dicomnode.domain.identifiers import checked_uid
from dicomnode.web.dicomweb.problems import BadRequest

MOST: Mapping[Level, int] = {Level.STUDY: 1000, Level.SERIES: 5000, Level.INSTANCE: 10_000}
"""Answers to one search, and what is given where no limit is asked for."""
LARGEST_OFFSET = 1_000_000
LONGEST_VALUE = 1024
MOST_VALUES = 1000

NO_FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_UIDS = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"})
_LISTS = frozenset({"ModalitiesInStudy", "Modality"})
_DATES = frozenset({"StudyDate", "PatientBirthDate"})
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_DATE = re.compile(r"[0-9]{8}")
_TIME = re.compile(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_OTHERS = frozenset({"accept", "charset"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A search as the client meant it."""

    search: Search
    """Its limit is the client's, bounded by `MOST`."""
    fields: frozenset[str]
    """Keywords of attributes to return besides the usual ones."""
    every_field: bool
    warnings: tuple[str, ...]


def read_search(level: Level, within: Mapping[str, str], query: Iterable[tuple[str, str]]) -> Asked:
    """The search for `level`, within the study and series of the path (checked UIDs).

    Raises:
        BadRequest: naming the parameter. An attribute that cannot be searched is refused too:
            to ignore it would answer with patients who were not asked for.
    """
    conditions: dict[str, Condition] = {key: OneOf(values=(uid,)) for key, uid in within.items()}
    numbers = {"limit": MOST[level], "offset": 0}
    fields: set[str] = set()
    warnings: list[str] = []
    seen: set[str] = set()
    for name, value in query:
        if name in numbers:
            numbers[name] = _bounded(name, value)
        elif name == "includefield":
            fields |= {_field(one) for one in value.split(",") if one}
        elif name == "fuzzymatching":
            warnings += [NO_FUZZY] if _flag(value) else []
        elif name not in _OTHERS:
            keyword = _keyword(name)
            if keyword in seen or keyword in within:
                raise BadRequest(f"{keyword} is asked for twice")
            if keyword not in SEARCHABLE[level]:
                raise BadRequest(f"{keyword} cannot be searched at the {level.value} level")
            seen.add(keyword)
            condition = _condition(keyword, value)
            if condition is None:
                fields.add(keyword)
            else:
                conditions[keyword] = condition
    return Asked(
        search=Search(
            level=level,
            conditions=conditions,
            limit=min(numbers["limit"], MOST[level]),
            offset=numbers["offset"],
        ),
        fields=frozenset(fields - {"all"}),
        every_field="all" in fields,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _bounded(name: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value):
        raise BadRequest(f"{name} must be a whole number")
    number = int(value)
    if name == "offset" and number > LARGEST_OFFSET:
        raise BadRequest(f"offset must not be above {LARGEST_OFFSET}; narrow the search instead")
    return number


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise BadRequest("fuzzymatching must be true or false")
    return value == "true"


def _field(text: str) -> str:
    return "all" if text == "all" else _keyword(text)


def _keyword(name: str) -> str:
    """The keyword of an attribute, given by keyword or by tag."""
    if "." in name:
        raise BadRequest("attributes inside sequences cannot be searched or asked for")
    keyword = keyword_for_tag(int(name, 16)) if _TAG.fullmatch(name) else name
    if not keyword or tag_for_keyword(keyword) is None:
        raise BadRequest("there is no such parameter or attribute: " + repr(name[:64]))
    return keyword


def _condition(keyword: str, value: str) -> Condition | None:
    """None if every value fits (universal matching)."""
    if len(value) > LONGEST_VALUE and keyword not in _UIDS:
        raise BadRequest(f"the value of {keyword} is too long")
    if "\0" in value:
        raise BadRequest(f"the value of {keyword} holds a null")
    if value in ("", '""') or not value.strip("*"):
        return None
    return _parsed(keyword, value)


def _parsed(keyword: str, value: str) -> Condition:
    if keyword in _UIDS:
        return OneOf(values=_uids(keyword, value))
    if keyword in NUMBERS:
        return OneOf(values=(_whole(keyword, value),))
    if keyword in _DATES:
        return _dates(keyword, value)
    if keyword == "StudyTime":
        return _times(value)
    if "*" in value or "?" in value:
        return Like(pattern=value)
    several = re.split(r"[,\\]", value) if keyword in _LISTS else [value]
    return OneOf(values=tuple(several[:MOST_VALUES]))


def _whole(keyword: str, value: str) -> str:
    if not _NUMBER.fullmatch(value):
        raise BadRequest(f"{keyword} must be a whole number")
    return str(int(value))


def _uids(keyword: str, value: str) -> tuple[str, ...]:
    uids = re.split(r"[,\\]", value)
    if len(uids) > MOST_VALUES:
        raise BadRequest(f"{keyword} lists more than {MOST_VALUES} UIDs")
    try:
        return tuple(checked_uid(uid.strip()) for uid in uids)
    except InvalidUid as exc:
        raise BadRequest(f"{keyword} holds what is no UID") from exc


def _dates(keyword: str, value: str) -> Condition:
    first, dash, last = value.partition("-")
    if not (first or last) or any(one and not _DATE.fullmatch(one) for one in (first, last)):
        raise BadRequest(f"{keyword} must be YYYYMMDD or a range of it")
    return Between(first=first, last=last) if dash else OneOf(values=(first,))


def _times(value: str) -> Condition:
    first, dash, last = value.partition("-")
    if not (first or last) or any(one and not _TIME.fullmatch(one) for one in (first, last)):
        raise BadRequest("StudyTime must be HH[MM[SS[.F]]] or a range of it")
    if not dash:
        last = first
    # An hour, a minute or a second is over only when the next one begins.
    whole = last.ljust(6, "9") if len(last) < 6 else last
    return Between(first=first, last=f"{whole}.999999" if last and "." not in whole else whole)
