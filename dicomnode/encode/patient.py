"""Whom a result is of: patient and study attributes as the source images state them, in UTF-8."""

from pydicom.dataset import Dataset

from dicomnode.encode.texts import (
    Encodings,
    copied_items,
    encodings_of,
    put,
    put_right,
    text_of,
)

UTF_8 = "ISO_IR 192"

_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 2 (PS3.3 C.7.1.1, C.7.2.1): always written, empty if unknown."""

_OPTIONAL = (
    "IssuerOfPatientID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "TimezoneOffsetFromUTC",
)

_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_SEQUENCES = {
    "ProcedureCodeSequence": _CODE,
    "DeidentificationMethodCodeSequence": _CODE,
    "IssuerOfAccessionNumberSequence": (
        "LocalNamespaceEntityID",
        "UniversalEntityID",
        "UniversalEntityIDType",
    ),
}

PATIENT_KEYWORDS = (
    "SpecificCharacterSet",
    "StudyInstanceUID",
    *_REQUIRED,
    *_OPTIONAL,
    *_SEQUENCES,
)
"""What has to be read of a source header."""


def patient_and_study(header: Dataset) -> Dataset:
    """The attributes every result of this study carries, faults of the source put right.

    Dates, times, ages and sexes that break their VR are corrected or left empty. Identifiers are
    never shortened, since a result must be filed where its images are.
    """
    encodings = encodings_of(header)
    ds = Dataset()
    ds.SpecificCharacterSet = UTF_8
    put(ds, "StudyInstanceUID", text_of(header, "StudyInstanceUID", encodings) or "")
    for keyword in _REQUIRED:
        put(ds, keyword, put_right(keyword, text_of(header, keyword, encodings) or ""))
    for keyword in _OPTIONAL:
        text = put_right(keyword, text_of(header, keyword, encodings) or "")
        if text:
            put(ds, keyword, text)
    _copy_sequences(header, ds, encodings)
    return ds


def _copy_sequences(header: Dataset, ds: Dataset, encodings: Encodings) -> None:
    for keyword, wanted in _SEQUENCES.items():
        items = copied_items(header, keyword, wanted, encodings)
        if wanted is _CODE:
            items = [item for item in items if all(name in item for name in _CODE)]
        if items:
            setattr(ds, keyword, items)
