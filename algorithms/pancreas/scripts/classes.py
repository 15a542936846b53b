"""What the refining network tells apart: the pancreas, and what lies against it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.networks.partial import UNKNOWN
from dicomnode.phantom import Organ
from dicomnode.phantom.structures import BONES

CLASSES = (
    "other",
    "pancreas",
    "duodenum and small bowel",
    "stomach",
    "colon",
    "vessels",
    "solid organs",
    "bone",
)
"""Index = channel; the boundary of the pancreas follows as one more channel."""
WEIGHTS = (1.0, 4.0, 1.5, 1.2, 1.0, 2.0, 1.0, 0.7)
UNNAMED = (0, 5, 7)
"""What masks of real CT leave out: fat, muscle, small vessels, some bone."""

_MEMBERS: dict[int, tuple[Organ, ...]] = {
    1: (Organ.PANCREAS,),
    2: (Organ.DUODENUM, Organ.SMALL_BOWEL),
    3: (Organ.STOMACH,),
    4: (Organ.COLON,),
    5: (
        Organ.AORTA,
        Organ.INFERIOR_VENA_CAVA,
        Organ.PORTAL_VEIN,
        Organ.ARTERY,
        Organ.VEIN,
    ),
    6: (
        Organ.LIVER,
        Organ.SPLEEN,
        Organ.KIDNEY_RIGHT,
        Organ.KIDNEY_LEFT,
        Organ.ADRENAL_RIGHT,
        Organ.ADRENAL_LEFT,
        Organ.GALLBLADDER,
        Organ.HEART,
    ),
    7: BONES,
}


def class_table() -> npt.NDArray[np.uint8]:
    """Class of every `Organ` number, `(256,)`; nodes and masses are left unknown."""
    table = np.zeros(256, np.uint8)
    table[[Organ.LYMPH_NODE, Organ.MASS]] = UNKNOWN
    for channel, organs in _MEMBERS.items():
        table[[int(o) for o in organs]] = channel
    return table
