"""Coded concepts (PS3.3 section 8) used by findings, rules and encoders."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: value, coding scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


MM = Code("mm", "UCUM", "millimeter")
MM2 = Code("mm2", "UCUM", "square millimeter")
ML = Code("ml", "UCUM", "milliliter")
RATIO = Code("1", "UCUM", "no units")
PIXELS = Code("{pixels}", "UCUM", "pixels")
PERCENT = Code("%", "UCUM", "percent")
DAYS = Code("d", "UCUM", "day")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")

_SHORT_UNITS = {"1": "", "{pixels}": "px", "[hnsf'U]": "HU"}


def number_in_words(value: float, unit: str) -> str:
    """A value with its UCUM unit as people write it: `0.52`, `2,480 ml`, `-830.1 HU`."""
    size = abs(value)
    if unit == "1":
        digits = 2
    elif size >= 1000:
        digits = 0
    else:
        digits = 1 if size >= 1 else 2
    return f"{value:,.{digits}f} {_SHORT_UNITS.get(unit, unit)}".strip()


CHEST_RADIOGRAPH = Code("30745-4", "LN", "XR Chest Views")

VOLUME = Code("118565006", "SCT", "Volume")
AREA = Code("42798000", "SCT", "Area")
DIAMETER = Code("81827009", "SCT", "Diameter")
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
SHORT_AXIS = Code("103340004", "SCT", "Short Axis")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MEDIAN = Code("373099004", "SCT", "Median")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
LONG_AXIS_CHANGE = Code("long-axis-change", "99DICOMNODE", "Change of long axis")
SHORT_AXIS_CHANGE = Code("short-axis-change", "99DICOMNODE", "Change of short axis")
VOLUME_CHANGE = Code("volume-change", "99DICOMNODE", "Change of volume")
COMPARED_AFTER = Code("compared-after", "99DICOMNODE", "Time since compared study")
DOUBLING_TIME = Code("doubling-time", "99DICOMNODE", "Volume doubling time")
CARDIOTHORACIC_RATIO = Code("ctr", "99DICOMNODE", "Cardiothoracic ratio")
CARDIAC_DIAMETER = Code("cardiac-diameter", "99DICOMNODE", "Transverse cardiac diameter")
THORACIC_DIAMETER = Code("thorax-diameter", "99DICOMNODE", "Internal thoracic diameter")
LOW_ATTENUATION = Code("laa-950", "99DICOMNODE", "Low attenuation area below -950 HU")
PERCENTILE_15 = Code("hu-p15", "99DICOMNODE", "15th percentile of attenuation")
CORE_ATTENUATION = Code("core-hu-6mm", "99DICOMNODE", "Attenuation deeper than 6 mm")
VERTEBRAL_MARROW = Code("vertebral-marrow", "99DICOMNODE", "Attenuation of vertebral marrow")
VERTEBRAL_MARROW_VOLUME = Code(
    "vertebral-marrow-volume", "99DICOMNODE", "Vertebral marrow measured"
)
FAT_VOLUME = Code("fat-volume", "99DICOMNODE", "Volume between -190 and -30 HU")
LEAN_VOLUME = Code("lean-volume", "99DICOMNODE", "Volume between -29 and 150 HU")
MEAN_AREA = Code("mean-area", "99DICOMNODE", "Mean cross-sectional area")
SURFACE_AREA = Code("surface-area", "99DICOMNODE", "Surface area")
CALCIUM_VOLUME = Code("calcium-volume", "99DICOMNODE", "Calcification volume, 130 HU and over")
AGATSTON_LIKE = Code("agatston-like", "99DICOMNODE", "Agatston-like score, scaled to 3 mm")

RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
LUNG = Code("39607008", "SCT", "Lung")
HEART = Code("80891009", "SCT", "Heart")
CHEST = Code("51185008", "SCT", "Thorax")
VERTEBRA = Code("51282000", "SCT", "Vertebra")
VASCULAR_CALCIFICATION = Code("237897009", "SCT", "Vascular Calcification")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
