"""The header of an instance in the DICOM JSON model; large values as addresses (PS3.18 F, 10.4)."""

import base64
import math
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from dicomnode.domain.catalogue import HeldInstance
from dicomnode.web.dicomweb.elements import JsonDataset, JsonElement, element, from_texts, number
from dicomnode.web.dicomweb.problems import NotHeld
from dicomnode.web.dicomweb.stored import StoredFile

INLINE = 1024
"""Bytes; longer binary values are left out and fetched by their address."""
_DEFER = 65_536
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_NUMERIC = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_SPECIFIC_CHARACTER_SET = 0x00080005
_DEEPEST = 32


def metadata_of(instance: HeldInstance, stored: StoredFile, url: str) -> JsonDataset:
    """Every attribute but group 2. Never pixels: they have an address below `url`, the instance's.

    Text is UTF-8, so SpecificCharacterSet says ISO_IR 192. Values that break their VR are left
    out rather than the whole answer.
    """
    with warnings.catch_warnings():
        # Values of the header may stand in pydicom's warnings.
        warnings.simplefilter("ignore")
        ds = dcmread(stored.path, stop_before_pixels=not stored.is_deflated, defer_size=_DEFER)
        found = dict(_elements(ds, f"{url}/bulkdata", 0))
    if (pixels := stored.pixels) is not None:
        tag = f"{pixels.tag:08X}"
        found[tag] = {"vr": pixels.vr, "BulkDataURI": f"{url}/bulkdata/{tag}"}
    return {**_identity(instance), **found, **_utf8()}


def identity_of(instance: HeldInstance) -> JsonDataset:
    """What is known of an instance whose file cannot be read."""
    return {**_identity(instance), **_utf8()}


def _identity(instance: HeldInstance) -> JsonDataset:
    return dict(
        from_texts(keyword, [value])
        for keyword, value in (
            ("SOPClassUID", instance.sop_class_uid),
            ("SOPInstanceUID", instance.sop_instance_uid),
            ("StudyInstanceUID", instance.study_uid),
            ("SeriesInstanceUID", instance.series_uid),
        )
    )


def _utf8() -> JsonDataset:
    return dict([from_texts("SpecificCharacterSet", ["ISO_IR 192"])])


def _elements(ds: Dataset, url: str, depth: int) -> Iterator[tuple[str, JsonElement]]:
    for tag in ds.keys():  # noqa: SIM118 (iterating the data set itself would convert everything)
        if tag.group == 2 or tag.element == 0 or tag == _SPECIFIC_CHARACTER_SET:
            continue
        try:
            yield f"{tag:08X}", _element(ds, tag, f"{url}/{tag:08X}", depth)
        except Exception:  # noqa: BLE001, S112 (a value that breaks its VR raises almost anything)
            continue


def _element(ds: Dataset, tag: BaseTag, url: str, depth: int) -> JsonElement:
    raw = ds.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement):
        if (tag in _PIXEL_DATA or raw.length > INLINE) and (raw.VR or "UN") in _BINARY:
            return {"vr": raw.VR or "UN", "BulkDataURI": url}
        if raw.VR not in (None, "SQ", "UN") and raw.value is not None and raw.length <= INLINE:
            return _remembered(
                tag,
                raw.VR,
                raw.value,
                raw.is_little_endian,
                _encodings(ds),
            )
    return _converted(ds[tag], url, depth)


def _encodings(ds: Dataset) -> tuple[str, ...]:
    # What pydicom itself decodes by; it has no public name.
    known = ds._character_set
    return (known,) if isinstance(known, str) else tuple(known)


@lru_cache(maxsize=16_384)
def _remembered(
    tag: BaseTag, vr: str, value: bytes, little: bool, encodings: tuple[str, ...]
) -> JsonElement:
    """Most values are the same in every image of a series."""
    raw = RawDataElement(tag, vr, len(value), value, 0, False, little)
    return _converted(convert_raw_data_element(raw, encoding=list(encodings)), "", 0)


def _converted(known: DataElement, url: str, depth: int) -> JsonElement:
    vr = str(known.VR)
    if vr == "SQ":
        return _sequence(known.value or (), url, depth)
    if vr in _BINARY:
        content = bytes(known.value or b"")
        if len(content) > INLINE or known.tag in _PIXEL_DATA:
            return {"vr": vr, "BulkDataURI": url}
        inline = base64.b64encode(content).decode("ascii")
        return {"vr": vr, "InlineBinary": inline} if content else {"vr": vr}
    vr = "US" if " or " in vr else vr
    return element(vr, [_value(vr, one) for one in _several(known.value)])


def _sequence(items: Sequence[Dataset], url: str, depth: int) -> JsonElement:
    if depth >= _DEEPEST:
        return {"vr": "SQ"}
    return element(
        "SQ",
        [dict(_elements(item, f"{url}/{at}", depth + 1)) for at, item in enumerate(items)],
    )


def _several(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return ()
    return value if isinstance(value, MultiValue | list | tuple) else (value,)


def _value(vr: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if vr == "PN":
        return _name(value)
    if vr == "AT":
        return f"{BaseTag(value):08X}"
    if vr in _NUMERIC:
        return _number(vr, value)
    return str(value)


def _number(vr: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        # F.2.3: text, for JSON has no such numbers.
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if vr in ("DS", "IS"):
        return number(vr, str(value))
    return float(value) if vr in ("FD", "FL") else int(value)


def _name(value: Any) -> Any:
    name = value if isinstance(value, PersonName) else PersonName(str(value))
    groups = (
        ("Alphabetic", name.alphabetic),
        ("Ideographic", name.ideographic),
        ("Phonetic", name.phonetic),
    )
    return {key: text for key, text in groups if text}


def bulk_value(stored: StoredFile, steps: Sequence[str]) -> bytes:
    """The value of a binary attribute, little endian; `steps`: tag, item, tag, item ... tag.

    Raises:
        NotHeld: there is no such attribute.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = dcmread(stored.path, stop_before_pixels=not stored.is_deflated, defer_size=_DEFER)
            for tag, item in zip(steps[:-1:2], steps[1::2], strict=True):
                ds = ds[int(tag, 16)].value[int(item)]
            known = ds[int(steps[-1], 16)]
            is_bulk = str(known.VR) in _BINARY
            content = bytes(known.value or b"") if is_bulk else b""
        except Exception as exc:  # no such tag or item, or one that cannot be read
            raise NotHeld("the instance has no such attribute") from exc
    if not is_bulk:
        raise NotHeld("this attribute is no bulk data; see the metadata")
    return content
