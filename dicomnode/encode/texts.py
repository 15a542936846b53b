"""Header values as text, read without judging them; and the same made to keep their VR.

Real archives hold ages like `81`, dates like `1956.03.07`, decimals of twenty characters. pydicom
warns about such values in words that carry them; here the bytes are decoded and put right or left
out.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from dicomnode.domain.errors import EncodeError

Encodings = list[str]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")


def encodings_of(ds: Dataset) -> Encodings:
    """Python codecs for the text of `ds`, from SpecificCharacterSet (0008,0005)."""
    named = text_of(ds, "SpecificCharacterSet", ["iso8859"]) or ""
    return list(convert_encodings(named.split("\\")))


def text_of(ds: Dataset, keyword: str, encodings: Encodings) -> str | None:
    """The value as text, values parted by backslashes; None if the attribute is absent."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in ds:
        return None
    element = ds.get_item(tag)
    value = element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes | type(None)):
        is_name = dictionary_VR(tag) == "PN"
        delimiters = PN_DELIMS if is_name else TEXT_VR_DELIMS
        value = decode_bytes(value or b"", encodings, delimiters)
    elif isinstance(value, MultiValue | list | tuple):
        value = "\\".join(str(part) for part in value)
    return _CONTROL.sub("", str("" if value is None else value)).strip(" ")


def numbers_of(ds: Dataset, keyword: str, count: int) -> tuple[str, ...] | None:
    """`count` decimal strings of at most 16 characters (VR DS); None if absent, empty or broken."""
    text = text_of(ds, keyword, ["ascii"])
    parts = text.split("\\") if text else []
    if len(parts) != count:
        return None
    try:
        return tuple(decimal_string(part.strip()) for part in parts)
    except ValueError:
        return None


def decimal_string(value: str | float) -> str:
    """`value` as a decimal string of at most 16 characters (PS3.5 6.2), as exact as fits.

    Raises:
        ValueError: it is not a finite number.
    """
    number = float(value)
    if number - number != 0:
        raise ValueError("not a finite number")
    text = value if isinstance(value, str) else repr(number)
    digits = 16
    while len(text) > 16:
        digits -= 1
        text = f"{number:.{digits}g}"
    return text


def date(text: str) -> str:
    """`text` as a DICOM date (DA), or empty if it is none."""
    digits = re.sub(r"[-./]", "", text)
    try:
        datetime.strptime(digits, "%Y%m%d")  # noqa: DTZ007  a date has no zone
    except ValueError:
        return ""
    return digits if len(digits) == 8 else ""


def time_of_day(text: str) -> str:
    """`text` as a DICOM time (TM), or empty if it is none."""
    digits = text.replace(":", "")
    return digits if _TIME.fullmatch(digits) else ""


def age(text: str) -> str:
    """`text` as a DICOM age (AS): `81` and `81Y` become `081Y`; empty if it is none."""
    found = re.fullmatch(r"(\d{1,3})([DWMY]?)", text.upper())
    return f"{int(found[1]):03d}{found[2] or 'Y'}" if found else ""


def sex(text: str) -> str:
    """`text` if it is one of M, F, O (PS3.3 C.7.1.1), else empty."""
    return text if text in ("M", "F", "O") else ""


def number(text: str) -> str:
    """`text` as one decimal string, or empty."""
    try:
        return decimal_string(text)
    except ValueError:
        return ""


_RULES: dict[str, Callable[[str], str]] = {"DA": date, "TM": time_of_day, "AS": age, "DS": number}


def put_right(keyword: str, text: str) -> str:
    """`text` as the attribute's VR allows, or empty."""
    if keyword == "PatientSex":
        return sex(text)
    tag = tag_for_keyword(keyword)
    rule = _RULES.get(dictionary_VR(tag)) if tag is not None else None
    return rule(text) if rule else text


def put(ds: Dataset, keyword: str, text: str) -> None:
    """Set an attribute to text as it stands: identifiers too long for their VR must still agree."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise EncodeError(f"{keyword} is not a DICOM keyword")
    value: str | list[str] | None = text or None
    if "\\" in text:
        value = text.split("\\")
    ds[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)


def items_of(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty if it is absent or no sequence."""
    value = ds.get(keyword)
    return list(value) if isinstance(value, Sequence) else []


def copied_items(
    ds: Dataset, keyword: str, wanted: Iterable[str], encodings: Encodings
) -> list[Dataset]:
    """Items of a sequence with only the `wanted` text attributes in them."""
    copies = []
    for item in items_of(ds, keyword):
        copy = Dataset()
        for name in wanted:
            text = text_of(item, name, encodings)
            if text:
                put(copy, name, text)
        if len(copy):
            copies.append(copy)
    return copies
