"""The content trees of example reports as one table in the manner of PS3.16."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from dicomnode.documents import table
from dicomnode.encode.concepts import ABSENT, PRESENT

_Key = tuple[str, str, str]
"""Relationship, value type, concept name."""


def content_table(reports: Sequence[Dataset]) -> str:
    """Every kind of content item at its place, with the template where the object names one."""
    heads = ("content item", "concept name", "relationship", "template", "values")
    rows = [
        (
            ">" * depth + items[0].ValueType,
            _concept(items[0]),
            items[0].get("RelationshipType", ""),
            _templates(items),
            _values(items),
        )
        for depth, items in _walk(list(reports), 0)
    ]
    return table(heads, rows)


def _walk(alike: list[Dataset], depth: int) -> Iterator[tuple[int, list[Dataset]]]:
    yield depth, alike
    kinds: dict[_Key, list[Dataset]] = {}
    for parent in alike:
        for item in parent.get("ContentSequence", []):
            kinds.setdefault(_kind(item), []).append(item)
    for children in kinds.values():
        yield from _walk(children, depth + 1)


def _kind(item: Dataset) -> _Key:
    # Findings and measurements differ only in what they are of: one line stands for all of them.
    name = "" if _is_open(item) else _concept(item)
    return str(item.get("RelationshipType", "")), str(item.ValueType), name


def _is_open(item: Dataset) -> bool:
    return item.ValueType == "NUM" or _is_judgement(item)


def _is_judgement(item: Dataset) -> bool:
    judged = {PRESENT.value, ABSENT.value}
    return item.ValueType == "CODE" and item.ConceptCodeSequence[0].CodeValue in judged


def _concept(item: Dataset) -> str:
    if item.ValueType == "NUM":
        return "any measurement"
    if _is_judgement(item):
        return "any finding that was judged as a whole"
    name = item.get("ConceptNameCodeSequence")
    return _code(name[0]) if name else ""


def _code(code: Dataset) -> str:
    return f"({code.CodeValue}, {code.CodingSchemeDesignator}, {code.CodeMeaning})"


def _templates(items: Sequence[Dataset]) -> str:
    named = {
        f"TID {template.TemplateIdentifier}"
        for item in items
        for template in item.get("ContentTemplateSequence", [])
    }
    return ", ".join(sorted(named))


def _values(items: Sequence[Dataset]) -> str:
    if items[0].ValueType == "CODE":
        shown = sorted({_code(item.ConceptCodeSequence[0]) for item in items})
        return "; ".join(shown) if len(shown) == 1 else f"e.g. {'; '.join(shown)}"
    if items[0].ValueType == "SCOORD":
        return ", ".join(sorted({str(item.GraphicType) for item in items}))
    return ""
