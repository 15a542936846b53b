"""Reading FHIR JSON that nobody has checked: every look says what it expects and where."""

import json
from collections.abc import Iterator
from typing import NewType, cast

from dicomnode.domain.errors import ReportError

Resource = NewType("Resource", dict[str, object])
"""A JSON object."""

LARGEST = 8_000_000
"""Bytes of a request."""
MOST_VALUES = 200_000
"""Values of a request; each costs a hundred bytes while it is read."""


class NotFhir(ReportError):
    """What was sent is no FHIR that can be read; the message names places, never values."""


class TooMuchFhir(NotFhir):
    """It is larger than is taken."""


def parsed(data: bytes) -> Resource:
    """The resource that a body holds.

    Raises:
        NotFhir: it is no JSON object, or larger than a report can be.
    """
    if len(data) > LARGEST:
        raise TooMuchFhir(f"more than {LARGEST} bytes")
    if sum(data.count(each) for each in (b",", b"[", b"{")) > MOST_VALUES:
        raise TooMuchFhir(f"more than {MOST_VALUES} values")
    try:
        value = json.loads(data)
    # ValueError: no JSON, no UTF-8, or a number of more digits than Python reads.
    except (ValueError, RecursionError):
        raise NotFhir("the body is not JSON that can be read") from None
    if not isinstance(value, dict):
        raise NotFhir("the body is not a JSON object")
    return Resource(value)


def kind_of(resource: Resource) -> str:
    """Its resourceType; empty if it has none."""
    kind = resource.get("resourceType")
    return kind if isinstance(kind, str) else ""


def text(parent: Resource, name: str) -> str:
    """A string; empty if it is not there."""
    value = parent.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise NotFhir(f"{name} is not a string")
    return value


def one(parent: Resource, name: str) -> Resource:
    """An object; empty if it is not there."""
    value = parent.get(name)
    if value is None:
        return Resource({})
    if not isinstance(value, dict):
        raise NotFhir(f"{name} is not an object")
    return Resource(value)


def many(parent: Resource, name: str) -> Iterator[Resource]:
    """The objects of a list; none if it is not there."""
    value = parent.get(name)
    if value is None:
        return
    if not isinstance(value, list):
        raise NotFhir(f"{name} is not a list")
    for each in cast("list[object]", value):
        if not isinstance(each, dict):
            raise NotFhir(f"{name} holds what is not an object")
        yield Resource(each)


def codes(concept: Resource) -> list[tuple[str, str, str]]:
    """(system, code, display) of every coding of a CodeableConcept."""
    return [
        (text(each, "system"), text(each, "code"), text(each, "display"))
        for each in many(concept, "coding")
    ]
