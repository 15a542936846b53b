"""Labelled synthetic CT of the trunk: anatomies, disease, scanner. numpy and scipy only.

No patient is behind it. `make_case(seed)` is the way in; docs/phantom.md describes the rest.
"""

from dicomnode.phantom.anatomy import Anatomy, Region, make_anatomy
from dicomnode.phantom.case import Case, draw_pathology, make_case, render
from dicomnode.phantom.lesions import Lesion, LesionKind
from dicomnode.phantom.scanner import Scan, draw_scan
from dicomnode.phantom.structures import SNOMED, Organ, Tissue, name_of
from dicomnode.phantom.tissues import Phase

__all__ = [
    "SNOMED",
    "Anatomy",
    "Case",
    "Lesion",
    "LesionKind",
    "Organ",
    "Phase",
    "Region",
    "Scan",
    "Tissue",
    "draw_pathology",
    "draw_scan",
    "make_anatomy",
    "make_case",
    "name_of",
    "render",
]
