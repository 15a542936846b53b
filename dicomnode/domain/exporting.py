"""What leaves the node for research: cases without names, and what labels them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from dicomnode.domain.identifiers import InstanceUid, StudyUid


class Split(Enum):
    """Which part of a data set a patient belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class LabelValue(Enum):
    """What the reports of a study say of a finding, as in the tables of `dicomnode label`."""

    POSITIVE = 1
    NEGATIVE = 0
    UNCERTAIN = -1


class Fit(Enum):
    """How an oblong image becomes a square one."""

    PAD = "pad"
    """Proportions kept, black around it."""
    STRETCH = "stretch"
    """Drawn out to the square, as ChestX-ray8's images are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCase:
    """One study with what its reports say; everything here may name a patient."""

    study_uid: StudyUid
    patient_id: str
    """PatientID; empty where none was sent."""
    birth_date: str
    """YYYYMMDD or empty."""
    sex: str
    study_date: str
    """YYYYMMDD or empty."""
    labels: Mapping[str, LabelValue]
    """Label name -> value; what is not mentioned is left out."""
    normal: bool | None
    """True: every report that counts is normal; None: no report has been read."""
    images: tuple["StoredImage", ...]
    reports_of_results: tuple[Path, ...]
    """SR files on this study, ours and received ones, which may draw boxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """One received instance of a case."""

    sop_instance_uid: InstanceUid
    path: Path


def person(patient_id: str, study_uid: StudyUid) -> str:
    """Who a study is of; without a PatientID each study stands for a person of its own."""
    return patient_id or f"study {study_uid}"


def combined(values: list[LabelValue]) -> LabelValue:
    """One value out of several reports of one study: positive, else uncertain, else negative.

    A study has several reports that count when an addendum came under an id of its own.
    """
    for strongest in (LabelValue.POSITIVE, LabelValue.UNCERTAIN):
        if strongest in values:
            return strongest
    return LabelValue.NEGATIVE


def age_in_years(birth_date: str, at: str) -> int | None:
    """Whole years between two dates YYYYMMDD; None where one is missing or they contradict.

    From 90 on it is 90: rarer ages point to persons (45 CFR 164.514(b)(2)(i)(C)).
    """
    if not (len(birth_date) == len(at) == 8 and birth_date.isdigit() and at.isdigit()):
        return None
    years = (int(at) - int(birth_date)) // 10_000
    return min(years, 90) if years >= 0 else None
