"""The classes of the network, and which structures of a phantom or of real masks they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.networks.partial import NOT_DRAWN, UNKNOWN
from dicomnode.phantom import Organ
from dicomnode.phantom.masks import organ_of
from dicomnode.phantom.structures import VERTEBRAE

CLASSES = (
    "background",
    "right lung",
    "left lung",
    "liver",
    "spleen",
    "right kidney",
    "left kidney",
    "pancreas",
    "stomach",
    "duodenum",
    "small bowel",
    "colon",
    "gallbladder",
    "urinary bladder",
    "heart",
    "aorta",
    "inferior vena cava",
    "portal vein",
    "bone",
    "vertebrae",
    "muscle",
    "subcutaneous fat",
    "visceral fat",
    "mediastinum",
    "airway",
    "pleural effusion",
    "other vessels",
    "adrenal glands",
)
"""Index = channel of the network."""

UNNAMED = (
    "background",
    "portal vein",
    "bone",
    "muscle",
    "subcutaneous fat",
    "visceral fat",
    "mediastinum",
    "airway",
    "pleural effusion",
    "other vessels",
)
"""Classes that masks of real CT leave out; see `PartialLoss`."""

DRAWN = (
    "right lung",
    "left lung",
    "liver",
    "spleen",
    "right kidney",
    "left kidney",
    "heart",
    "aorta",
    "bone",
    "vertebrae",
)
"""Classes that are outlined wherever they are, where only some organs were; see `PartialLoss`."""

_MEMBERS: dict[str, tuple[Organ, ...]] = {
    "right lung": (Organ.LUNG_RIGHT,),
    "left lung": (Organ.LUNG_LEFT,),
    "liver": (Organ.LIVER,),
    "spleen": (Organ.SPLEEN,),
    "right kidney": (Organ.KIDNEY_RIGHT,),
    "left kidney": (Organ.KIDNEY_LEFT,),
    "pancreas": (Organ.PANCREAS,),
    "stomach": (Organ.STOMACH,),
    "duodenum": (Organ.DUODENUM,),
    "small bowel": (Organ.SMALL_BOWEL,),
    "colon": (Organ.COLON,),
    "gallbladder": (Organ.GALLBLADDER,),
    "urinary bladder": (Organ.BLADDER,),
    "heart": (Organ.HEART,),
    "aorta": (Organ.AORTA,),
    "inferior vena cava": (Organ.INFERIOR_VENA_CAVA,),
    "portal vein": (Organ.PORTAL_VEIN,),
    "bone": (
        Organ.RIBS,
        Organ.STERNUM,
        Organ.CLAVICLE,
        Organ.SCAPULA,
        Organ.HUMERUS,
        Organ.HIP_BONE,
        Organ.FEMUR,
        Organ.SACRUM,
    ),
    "vertebrae": VERTEBRAE,
    "muscle": (Organ.MUSCLE, Organ.PSOAS, Organ.PARASPINAL_MUSCLE, Organ.DIAPHRAGM),
    "subcutaneous fat": (Organ.SUBCUTANEOUS_FAT, Organ.SKIN, Organ.BREAST),
    "visceral fat": (Organ.VISCERAL_FAT,),
    "mediastinum": (Organ.MEDIASTINAL_FAT, Organ.ESOPHAGUS, Organ.THYROID),
    "airway": (Organ.AIRWAY,),
    "pleural effusion": (Organ.EFFUSION,),
    "other vessels": (
        Organ.PULMONARY_ARTERY,
        Organ.PULMONARY_VEIN,
        Organ.SUPERIOR_VENA_CAVA,
        Organ.ARTERY,
        Organ.VEIN,
    ),
    "adrenal glands": (Organ.ADRENAL_RIGHT, Organ.ADRENAL_LEFT),
}


def class_table() -> npt.NDArray[np.uint8]:
    """Class of every `Organ` number, `(256,)`; what is only a neighbour is left unknown."""
    table = np.full(256, UNKNOWN, np.uint8)
    table[[Organ.OUTSIDE, Organ.TABLE, Organ.ARM]] = 0
    table[[Organ.UTERUS, Organ.PROSTATE]] = NOT_DRAWN
    for name, organs in _MEMBERS.items():
        table[[int(o) for o in organs]] = CLASSES.index(name)
    return table


def organ_named(name: str) -> Organ | None:
    """What a label of a site stands for: one of `CLASSES`, or as TotalSegmentator names it."""
    members = _MEMBERS.get(name)
    return members[0] if members else organ_of(name)
