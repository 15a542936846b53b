"""Attributes of example objects as a table in the manner of PS3.3: sequences opened by `>`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicomnode.documents import table
from dicomnode.encode.patient import PATIENT_KEYWORDS

_COPIED = frozenset(PATIENT_KEYWORDS) - {"SpecificCharacterSet"}
# Shown by a table of its own.
_CLOSED = frozenset({"ContentSequence"})
# Their values tell of the example, not of the node.
_NOT_SHOWN = frozenset({"UI", "DA", "TM", "DT", "OB", "OW", "PN", "DS", "FD", "UL", "FL", "UN"})
_CLASS_UIDS = frozenset({"SOPClassUID"})
# Sequences whose codes are those of the algorithm's findings.
_OF_THE_FINDING = (
    "AnatomicRegion",
    "SegmentedProperty",
    "ProcedureCode",
    "PerformedProcedureCode",
)
_OF_THE_EXAMPLE = frozenset(
    {
        "InstitutionName",
        "SoftwareVersions",
        "DeviceSerialNumber",
        "ManufacturerModelName",
        "Manufacturer",
        "SeriesDescription",
        "SeriesNumber",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "ContentDescription",
        "ContributionDescription",
        "InstitutionalDepartmentName",
        "StationName",
        "SegmentAlgorithmName",
        "AlgorithmName",
        "AlgorithmVersion",
        "AlgorithmSource",
        "AlgorithmParameters",
        "ReferencedSegmentNumber",
    }
)


@dataclass(slots=True)
class _Seen:
    """One attribute at one place, over all examples."""

    element: DataElement
    depth: int
    holders: int = 0
    """Data sets (or items) that hold it."""
    possible: int = 0
    """Data sets (or items) at its place."""
    values: set[str] = field(default_factory=set)


def attribute_table(examples: Sequence[Dataset]) -> str:
    """Tag, name, VR, whether it is always there, and its value where that is always the same."""
    rows = [
        (
            f"({seen.element.tag.group:04X},{seen.element.tag.elem:04X})",
            ">" * seen.depth + seen.element.name,
            seen.element.VR,
            "always" if seen.holders == seen.possible else "where it applies",
            _value(seen),
        )
        for seen in _walk(examples, 0)
    ]
    return table(("tag", "attribute", "VR", "present", "value"), rows)


def _walk(places: Sequence[Dataset], depth: int) -> Iterator[_Seen]:
    tags: set[BaseTag] = {element.tag for ds in places for element in ds}
    for tag in sorted(tags):
        held = [ds[tag] for ds in places if tag in ds]
        seen = _Seen(element=held[0], depth=depth, holders=len(held), possible=len(places))
        seen.values = {_text(element) for element in held}
        yield seen
        items = [item for element in held if element.VR == "SQ" for item in element.value]
        if items and held[0].keyword not in _CLOSED and not _are_codes(items):
            yield from _walk(items, depth + 1)


def _are_codes(items: Sequence[Dataset]) -> bool:
    return all("CodeValue" in item for item in items)


def _text(element: DataElement) -> str:
    if element.VR == "SQ":
        if not _are_codes(element.value):
            return ""
        shown = (
            f"({item.CodeValue}, {item.CodingSchemeDesignator}, {item.CodeMeaning})"
            for item in element.value
        )
        return "; ".join(shown)
    if element.VM > 1:
        return "\\".join(str(one) for one in element.value)
    return "" if element.value is None else str(element.value)


def _value(seen: _Seen) -> str:
    keyword = seen.element.keyword
    if keyword in _COPIED and seen.depth == 0:
        return "as in the source images"
    if keyword in _CLOSED:
        return "see the content tree"
    if keyword.startswith(_OF_THE_FINDING):
        return "code of the finding" if any(seen.values) else ""
    if seen.element.VR == "SQ" and seen.values == {""}:
        return ""
    hidden = seen.element.VR in _NOT_SHOWN and keyword not in _CLASS_UIDS
    if hidden or keyword in _OF_THE_EXAMPLE or len(seen.values) != 1:
        return ""
    (value,) = seen.values
    return f"`{value}`" if value else "empty"
