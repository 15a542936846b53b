"""What conditions may look at, and the values a series has for it."""

from collections.abc import Mapping
from math import hypot, isfinite

from pydicom.datadict import dictionary_VR, keyword_dict

from dicomnode.domain.studies import SeriesFacts
from dicomnode.rules.model import Kind, Subject

ORIENTATIONS = ("axial", "sagittal", "coronal", "oblique")
VIEWS = ("frontal", "lateral", "other")
STUDY_WORDS: Mapping[str, Kind] = {"calling_ae": Kind.TEXT}
SERIES_WORDS: Mapping[str, Kind] = {
    "orientation": Kind.TEXT,
    "view": Kind.TEXT,
    "slices": Kind.NUMBER,
    "spacing_mm": Kind.NUMBER,
}

_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(["DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"], Kind.NUMBER),
    **dict.fromkeys(["US or SS"], Kind.NUMBER),
    **dict.fromkeys(
        ["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT", "DT"], Kind.TEXT
    ),
    "AS": Kind.AGE,
    "DA": Kind.DATE,
    "TM": Kind.TIME,
}

_VIEWS: Mapping[str, str] = {
    **dict.fromkeys(["PA", "AP"], "frontal"),
    **dict.fromkeys(["LL", "RL", "LAT", "LATERAL"], "lateral"),
}

# cos 30 degrees: head scans along the orbitomeatal line still count as axial.
_ALONG = 0.866


def kind_of_keyword(keyword: str) -> Kind | None:
    """How values of a DICOM keyword compare; None for sequences, binary values and file meta.

    Raises:
        KeyError: pydicom's dictionary has no such keyword.
    """
    tag = keyword_dict[keyword]
    if tag >> 16 in (0x0000, 0x0002):
        return None
    return _KINDS.get(dictionary_VR(tag))


def values_of(subject: Subject, facts: SeriesFacts) -> tuple[str, ...]:
    """The values a series has for `subject`, empty ones left out; `()` if it has none."""
    match subject.word:
        case "orientation":
            derived = orientation_of(facts)
        case "view":
            return views_of(facts)
        case "slices":
            derived = str(slices_of(facts))
        case "spacing_mm":
            spacing = spacing_of(facts)
            derived = None if spacing is None else f"{spacing:g}"
        case "Modality":
            derived = facts.modality
        case word:
            return tuple(
                stripped for one in facts.values.get(word, ()) if (stripped := one.strip())
            )
    return (derived,) if derived else ()


def number_of(kind: Kind, text: str) -> float | None:
    """`text` as a number in the sense of `kind`, None if it is not one."""
    text = text.strip()
    scale = 1.0
    if kind is Kind.AGE:
        scale = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}.get(text[-1:].upper(), 0)
        if not scale:
            return None
        text = text[:-1]
    elif kind is Kind.TIME:
        whole, _, fraction = text.partition(".")
        # PS3.5 6.2: minutes and seconds may be left out.
        text = f"{whole.ljust(6, '0')}.{fraction}"
    try:
        number = float(text)
    except ValueError:
        return None
    return number * scale if isfinite(number) else None


def first_number(facts: SeriesFacts, keyword: str) -> float | None:
    """The first value of a numeric attribute, None if absent or not a number."""
    values = facts.values.get(keyword, ())
    return number_of(Kind.NUMBER, values[0]) if values else None


def slices_of(facts: SeriesFacts) -> int:
    """Images in the series: instances, times the frames of the first."""
    frames = first_number(facts, "NumberOfFrames")
    return facts.instance_count * max(1, int(frames or 1))


def spacing_of(facts: SeriesFacts) -> float | None:
    """Distance between slices in mm as the header states it; else the slice thickness."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        stated = first_number(facts, keyword)
        # Some scanners write a negative spacing for the direction of travel.
        if stated:
            return abs(stated)
    return None


def orientation_of(facts: SeriesFacts) -> str | None:
    """Plane of the slices: the patient axis within 30 degrees of their normal, else `oblique`.

    From ImageOrientationPatient (PS3.3 C.7.6.2.1.1); None if absent or degenerate.
    """
    numbers = [number_of(Kind.NUMBER, v) for v in facts.values.get("ImageOrientationPatient", ())]
    cosines = [number for number in numbers if number is not None]
    if len(cosines) != 6:
        return None
    (a, b, c), (d, e, f) = cosines[:3], cosines[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = hypot(*normal)
    if not 0.5 < length < 2:
        return None
    for name, component in zip(("sagittal", "coronal", "axial"), normal, strict=True):
        if abs(component) / length >= _ALONG:
            return name
    return "oblique"


def views_of(facts: SeriesFacts) -> tuple[str, ...]:
    """Views of a radiograph series: from ViewPosition, else from PatientOrientation.

    A row that runs to the left or right is a frontal view, to the front or back a lateral one
    (PS3.3 C.7.6.1.1.1); where it runs up or down, the image is stored turned and the column tells.
    Empty if neither attribute says.
    """
    stated = [one.strip().upper() for one in facts.values.get("ViewPosition", ())]
    if any(stated):
        return tuple(dict.fromkeys(_VIEWS.get(one, "other") for one in stated if one))
    views = {"L": "frontal", "R": "frontal", "A": "lateral", "P": "lateral"}
    leads = [part.strip().upper()[:1] for part in facts.values.get("PatientOrientation", ())]
    told = next((lead for lead in leads if lead not in ("H", "F")), "")
    return (views[told],) if told in views else ()
