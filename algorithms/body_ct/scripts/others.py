"""Dice on real CTs without masks of their own, against outlines drawn for this bundle.

The outlines (`drawn`) are of no radiologist: weak evidence, but of anatomies other than that of
TotalSegmentator's example.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.phantom import Organ
from dicomnode.phantom.structures import BONES
from dicomnode.pipeline.volume import read_series
from scripts.classes import CLASSES
from scripts.drawn import crlm_organs, lidc_organs

if TYPE_CHECKING:
    from scripts.evaluation import Bundle

_CRLM = {
    "liver": (Organ.LIVER,),
    "spleen": (Organ.SPLEEN,),
    "right kidney": (Organ.KIDNEY_RIGHT,),
    "left kidney": (Organ.KIDNEY_LEFT,),
    "aorta": (Organ.AORTA,),
    "bone": BONES,
}


def _channels(name: str) -> list[int]:
    names = ("bone", "vertebrae") if name == "bone" else (name,)
    return [CLASSES.index(one) for one in names]


def _dice(found: Any, true: Any) -> float:
    total = int(found.sum()) + int(true.sum())
    return round(2 * int((found & true).sum()) / total, 3) if total else 1.0


def others(bundle: Bundle, root: Path) -> dict[str, dict[str, float]]:
    """Dice by CT and structure; `root` holds `ct/crlm_1004/dicom` and `ct/lidc_0314/dicom`."""
    told: dict[str, dict[str, float]] = {}
    for case in ("crlm_1004", "lidc_0314"):
        volume = read_series(sorted((root / "ct" / case / "dicom").glob("*.dcm")))
        hu = volume.array.astype(np.float32)
        found = bundle.segment(hu, volume.grid.affine_lps_mm)
        if case == "crlm_1004":
            organs = crlm_organs(hu)
            told[case] = {
                name: _dice(np.isin(found, _channels(name)), np.isin(organs, members))
                for name, members in _CRLM.items()
            }
            over = (hu > 160) & (organs != 0)
            told[case]["bone, threshold"] = _dice(over, np.isin(organs, BONES))
        else:
            told[case] = {
                name: _dice(np.isin(found[box], _channels(name)), mask[box])
                for name, (mask, box) in lidc_organs(hu).items()
            }
    return told
