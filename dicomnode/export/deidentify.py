"""Images without identity, by the profile of PS3.15 Annex E.

Which attributes go, stay or are replaced is the table E.1-1 of the standard, edition 2024b, as the
package dicom-anonymizer keeps it. What is put in the place of identifiers is ours: keyed
pseudonyms, the same in every export, and dates that are moved by days that only the key tells.
Whatever is neither in that table nor public is removed.
"""

import hashlib
import re
from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import cache

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from dicomnode.domain.exporting import person
from dicomnode.domain.identifiers import IMPLEMENTATION_CLASS_UID, StudyUid
from dicomnode.export.pseudonyms import Pseudonyms

EDITION = "dicomfields_2024b"

# PS3.16 CID 7050.
BASIC = ("113100", "Basic Application Confidentiality Profile")
MODIFIED_DATES = (
    "113107",
    "Retain Longitudinal Temporal Information Modified Dates Option",
)
CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")

_LONGEST_SHIFT_DAYS = 3650
_OLDEST_TOLD = 89
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_DUMMY_DATE, _DUMMY_TIME = "19000101", "000000"

_CHARACTERISTICS = frozenset(
    tag_for_keyword(keyword)
    for keyword in ("PatientAge", "PatientSex", "PatientSize", "PatientWeight")
)
# Not in the table, but written at the site: names of processings hold those of hospitals.
_OF_THE_SITE = frozenset(
    tag_for_keyword(keyword) for keyword in ("ProcessingFunction", "PostprocessingFunction")
)
_BIRTH = frozenset({tag_for_keyword("PatientBirthDate"), tag_for_keyword("PatientBirthTime")})
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})


class Action(Enum):
    """What the profile does to an attribute (PS3.15 Table E.1-1a)."""

    REMOVE = "X"
    EMPTY = "Z"
    REPLACE = "D"
    UID = "U"
    KEEP = "K"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The basic profile and the options of PS3.15 E.3 that are applied with it."""

    dates: bool = False
    """Dates are moved instead of removed, all of a patient by the same days (E.3.6)."""
    characteristics: bool = False
    """Age (to 89, then 90), sex, size and weight stay (E.3.7)."""

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """As DeidentificationMethodCodeSequence says it."""
        wanted = (
            (BASIC, True),
            (MODIFIED_DATES, self.dates),
            (CHARACTERISTICS, self.characteristics),
        )
        return tuple(code for code, applied in wanted if applied)


def deidentify(ds: Dataset, profile: Profile, pseudonyms: Pseudonyms) -> Dataset:
    """A data set of the same image without identity; `ds` is not changed.

    Its file meta information is new. Pixels are as they were: burned-in text is not looked for.
    """
    patient = person(str(ds.get("PatientID") or ""), StudyUid(str(ds.StudyInstanceUID)))
    cleaner = _Cleaner(profile, pseudonyms, patient)
    clean = cleaner.cleaned(ds)
    clean.PatientName = clean.PatientID = pseudonyms.of("patient", patient)
    clean.PatientIdentityRemoved = "YES"
    clean.LongitudinalTemporalInformationModified = "MODIFIED" if profile.dates else "REMOVED"
    clean.DeidentificationMethod = "dicomnode, PS3.15 2024b"
    clean.DeidentificationMethodCodeSequence = [_code(*code) for code in profile.codes]
    clean.file_meta = _file_meta(ds, clean)
    return clean


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _file_meta(ds: Dataset, clean: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = clean.SOPClassUID
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    return meta


class _Cleaner:
    """Walks one image; sequences and what is in them by the same rules."""

    def __init__(self, profile: Profile, pseudonyms: Pseudonyms, patient: str) -> None:
        self._profile = profile
        self._pseudonyms = pseudonyms
        self._shift = timedelta(days=pseudonyms.number("days", patient, _LONGEST_SHIFT_DAYS) + 1)

    def cleaned(self, ds: Dataset) -> Dataset:
        clean = Dataset()
        for element in ds:
            kept = self._element(element)
            if kept is not None:
                clean.add(kept)
        return clean

    def _element(self, element: DataElement) -> DataElement | None:
        tag = element.tag
        action = self._action(tag, element.VR)
        if action is Action.REMOVE:
            return None
        if element.VR in ("DA", "DT", "TM") and action is not Action.KEEP:
            return self._moment(element, action)
        if action is Action.UID or (element.VR == "UI" and action is Action.REPLACE):
            return DataElement(tag, element.VR, self._uids(element.value))
        if element.VR == "SQ":
            # What a sequence holds is cleaned even where the sequence itself may stay.
            items = [] if action is Action.EMPTY else [self.cleaned(item) for item in element.value]
            return DataElement(tag, "SQ", items)
        if action is Action.KEEP:
            return self._kept(element)
        return DataElement(tag, element.VR, _dummy(element, action))

    def _action(self, tag: BaseTag, vr: str) -> Action:
        if tag.is_private or not dictionary_has_tag(tag) or tag in _OF_THE_SITE:
            return Action.REMOVE
        if self._profile.characteristics and tag in _CHARACTERISTICS:
            return Action.KEEP
        action = _table().get(tag)
        if action is None:
            action = Action.REMOVE if _is_repeating_group(tag) else Action.KEEP
        is_moment = vr in ("DA", "DT", "TM") and tag not in _BIRTH
        if self._profile.dates and is_moment and action is not Action.KEEP:
            return Action.REPLACE
        return action

    def _uids(self, value: object) -> object:
        if isinstance(value, str):
            return self._pseudonyms.uid(value) if value else value
        return [self._pseudonyms.uid(one) for one in value]  # type: ignore[attr-defined]

    def _moment(self, element: DataElement, action: Action) -> DataElement | None:
        if self._profile.dates and element.tag not in _BIRTH:
            values = [self._moved(element.VR, str(one)) for one in _each(element.value)]
            return DataElement(element.tag, element.VR, values)
        if action is Action.EMPTY:
            return DataElement(element.tag, element.VR, "")
        dummy = {"DA": _DUMMY_DATE, "TM": _DUMMY_TIME, "DT": _DUMMY_DATE + _DUMMY_TIME}
        return DataElement(element.tag, element.VR, dummy[element.VR])

    def _moved(self, vr: str, text: str) -> str:
        """A date or date and time so many days earlier; a time as it is; nothing if it is none."""
        if vr == "TM":
            return text
        try:
            day = date(int(text[:4]), int(text[4:6]), int(text[6:8])) - self._shift
        except (ValueError, OverflowError):
            return ""
        return f"{day:%Y%m%d}{text[8:]}" if vr == "DT" else f"{day:%Y%m%d}"

    def _kept(self, element: DataElement) -> DataElement:
        if element.keyword == "PatientAge":
            return DataElement(element.tag, "AS", _age(str(element.value or "").strip()))
        return element


def _each(value: object) -> list[object]:
    """The values of an element; pydicom gives one as it is and several as a sequence."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MutableSequence) else [value]


def _age(stated: str) -> str:
    """As PS3.5 has it, at most `_OLDEST_TOLD` + 1; without a unit it is in years; else empty."""
    match = _AGE.fullmatch(stated)
    if match is None:
        return ""
    number, unit = int(match[1]), match[2] or "Y"
    days = number * _DAYS[unit]
    if days >= (_OLDEST_TOLD + 1) * _DAYS["Y"]:
        return f"{_OLDEST_TOLD + 1:03}Y"
    return f"{number:03}{unit}"


def _dummy(element: DataElement, action: Action) -> object:
    if action is Action.EMPTY:
        return None
    if element.VR == "AS":
        return "000Y"
    if element.VR in _TEXTS:
        return "REMOVED"
    if element.VR in _NUMBERS:
        return 0
    return b"\0\0"


def _is_repeating_group(tag: BaseTag) -> bool:
    """Curves (50xx) and overlays (60xx) of the table's masks."""
    return 0x5000 <= tag.group <= 0x50FF or 0x6000 <= tag.group <= 0x60FF


@cache
def _table() -> Mapping[BaseTag, Action]:
    """Attribute -> action. Of the profile's choices, the one that keeps an object valid."""
    listed = dicom_anonymization_database_selector(EDITION)
    choices = {
        "X_TAGS": Action.REMOVE,
        "Z_TAGS": Action.EMPTY,
        "D_TAGS": Action.REPLACE,
        "U_TAGS": Action.UID,
        "Z_D_TAGS": Action.REPLACE,
        "X_Z_TAGS": Action.EMPTY,
        "X_D_TAGS": Action.REPLACE,
        "X_Z_D_TAGS": Action.REPLACE,
        # Sequences of references: their UIDs are replaced like all others.
        "X_Z_U_STAR_TAGS": Action.KEEP,
    }
    return {
        Tag(*tag): action
        for name, action in choices.items()
        for tag in listed[name]
        if len(tag) == 2
    }


def profile_digest() -> str:
    """SHA-256 over the table in use, to be told beside what it made."""
    words = sorted(f"{int(tag):08X}{action.value}" for tag, action in _table().items())
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
