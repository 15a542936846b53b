"""Values of single attributes, converted once for all slices that share them.

Most attributes of a series are the same in every slice, and converting a raw element takes pydicom
longer than finding it; so what was converted is remembered by its bytes.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import isfinite
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag


def value_of(ds: Dataset, keyword: str) -> Any:
    """The value of an attribute that is no sequence and has one VR; None if absent or empty."""
    tag = _tag(keyword)
    element = ds.get_item(tag)
    if element is None:
        return None
    value = element.value
    if isinstance(element, RawDataElement) and value is not None:
        value = _converted(tag, element.VR, value, element.is_implicit_VR, element.is_little_endian)
    return None if value == "" else value


def items(ds: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence, none if it is absent."""
    tag = _tag(keyword)
    if ds.get_item(tag) is None:
        return ()
    found: Sequence[Dataset] = ds[tag].value or ()
    return found


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The first `count` values of an attribute; None if there are fewer or one is no number."""
    value = value_of(ds, keyword)
    if value is None:
        return None
    several = value if isinstance(value, Sequence) else (value,)
    try:
        values = tuple(float(one) for one in several)
    except (TypeError, ValueError):
        return None
    return values[:count] if len(values) >= count and all(map(isfinite, values)) else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """The value of an attribute that holds one whole number."""
    value = value_of(ds, keyword)
    return None if value is None else int(value)


def text(ds: Dataset, keyword: str) -> str:
    """The value of an attribute as text, empty if there is none."""
    value = value_of(ds, keyword)
    return "" if value is None else str(value)


@cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return BaseTag(tag)


@lru_cache(maxsize=4096)
def _converted(tag: BaseTag, vr: str | None, value: bytes, implicit: bool, little: bool) -> Any:
    raw = RawDataElement(tag, vr, len(value), value, 0, implicit, little)
    return convert_raw_data_element(raw).value
