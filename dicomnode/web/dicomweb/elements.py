"""Values of attributes in the DICOM JSON model (PS3.18 F.2)."""

import re
from collections.abc import Iterable, Sequence

from pydicom.datadict import dictionary_VR, tag_for_keyword

Json = None | bool | int | float | str | Sequence["Json"] | dict[str, "Json"]
JsonElement = dict[str, Json]
JsonDataset = dict[str, JsonElement]

MEDIA_TYPE = "application/dicom+json"

_WHOLE = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_REAL = frozenset({"DS", "FD", "FL"})
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def tag_of(keyword: str) -> str:
    """Eight hexadecimal digits."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return f"{tag:08X}"


def element(vr: str, values: Iterable[Json]) -> JsonElement:
    """An element with these values; with none, only its VR."""
    several = list(values)
    return {"vr": vr, "Value": several} if several else {"vr": vr}


def from_texts(keyword: str, texts: Sequence[str]) -> tuple[str, JsonElement]:
    """The tag and element of an attribute whose values are known as text."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = dictionary_VR(tag)
    if vr == "US or SS":
        vr = "SS" if any(text.startswith("-") for text in texts) else "US"
    return f"{tag:08X}", element(vr, [_value(vr, text) for text in texts])


def _value(vr: str, text: str) -> Json:
    if not text:
        return None
    if vr == "PN":
        return person_name(text)
    if vr in _WHOLE or vr in _REAL:
        return number(vr, text)
    return text


def number(vr: str, text: str) -> Json:
    """A number as JSON has it; what is none stays text, which F.2.3 allows."""
    if len(text) > 24 or not _NUMBER.fullmatch(text):
        return text
    value = float(text)
    if vr in _WHOLE and value.is_integer():
        return int(value)
    return value if abs(value) < 1e308 else text


def person_name(text: str) -> Json:
    """A name by its groups (F.2.2)."""
    groups = zip(_GROUPS, text.split("="), strict=False)
    return {name: group for name, group in groups if group}
