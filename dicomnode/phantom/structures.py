"""The structures a phantom is made of: numbers in label maps, names, codes of SNOMED CT."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Organ(IntEnum):
    """What a voxel of `Anatomy.labels` belongs to."""

    OUTSIDE = 0
    SKIN = 1
    SUBCUTANEOUS_FAT = 2
    MUSCLE = 3
    VISCERAL_FAT = 4
    MEDIASTINAL_FAT = 5
    DIAPHRAGM = 6
    PSOAS = 7
    PARASPINAL_MUSCLE = 8
    ARM = 9
    LUNG_RIGHT = 10
    LUNG_LEFT = 11
    AIRWAY = 12
    ESOPHAGUS = 13
    HEART = 14
    AORTA = 15
    PULMONARY_ARTERY = 16
    PULMONARY_VEIN = 17
    SUPERIOR_VENA_CAVA = 18
    INFERIOR_VENA_CAVA = 19
    ARTERY = 20
    VEIN = 21
    PORTAL_VEIN = 22
    THYROID = 23
    LIVER = 30
    SPLEEN = 31
    KIDNEY_RIGHT = 32
    KIDNEY_LEFT = 33
    ADRENAL_RIGHT = 34
    ADRENAL_LEFT = 35
    GALLBLADDER = 36
    PANCREAS = 37
    STOMACH = 38
    DUODENUM = 39
    SMALL_BOWEL = 40
    COLON = 41
    BLADDER = 42
    PROSTATE = 43
    UTERUS = 44
    BREAST = 45
    SPINAL_CANAL = 46
    DISC = 47
    RIBS = 50
    STERNUM = 51
    COSTAL_CARTILAGE = 52
    CLAVICLE = 53
    SCAPULA = 54
    HUMERUS = 55
    HIP_BONE = 56
    FEMUR = 57
    SACRUM = 58
    VERTEBRA_T1 = 70
    VERTEBRA_T2 = 71
    VERTEBRA_T3 = 72
    VERTEBRA_T4 = 73
    VERTEBRA_T5 = 74
    VERTEBRA_T6 = 75
    VERTEBRA_T7 = 76
    VERTEBRA_T8 = 77
    VERTEBRA_T9 = 78
    VERTEBRA_T10 = 79
    VERTEBRA_T11 = 80
    VERTEBRA_T12 = 81
    VERTEBRA_L1 = 82
    VERTEBRA_L2 = 83
    VERTEBRA_L3 = 84
    VERTEBRA_L4 = 85
    VERTEBRA_L5 = 86
    LYMPH_NODE = 90
    EFFUSION = 91
    MASS = 92
    TABLE = 95
    METAL = 96


class Tissue(IntEnum):
    """What an organ is made of at a voxel; the same number means the same in every organ."""

    WALL = 0
    """Parenchyma, muscle, cortex of bone, wall of a hollow organ, blood of a vessel."""
    INNER = 1
    """Marrow of bone, contents of a hollow organ, medulla of the kidney, air of an airway."""
    COLLECTING = 2
    """Renal pelvis; blood of the left heart."""
    RIGHT_BLOOD = 3
    """Blood of the right heart."""
    VESSEL = 4
    """Vessels inside lung (pulmonary) and liver."""
    BRONCHUS = 5
    """Walls of bronchi inside lung."""
    CALCIUM = 6
    FATTY = 7
    """Fat between lobules or in a hilum."""


VERTEBRAE: Final = tuple(Organ(code) for code in range(70, 87))
"""T1 to L5."""
BONES: Final = (
    Organ.RIBS,
    Organ.STERNUM,
    Organ.CLAVICLE,
    Organ.SCAPULA,
    Organ.HUMERUS,
    Organ.HIP_BONE,
    Organ.FEMUR,
    Organ.SACRUM,
    *VERTEBRAE,
)
MUSCLES: Final = (Organ.MUSCLE, Organ.PSOAS, Organ.PARASPINAL_MUSCLE, Organ.DIAPHRAGM)
LUNGS: Final = (Organ.LUNG_RIGHT, Organ.LUNG_LEFT)
FATS: Final = (Organ.VISCERAL_FAT, Organ.MEDIASTINAL_FAT)
NOT_BODY: Final = (Organ.OUTSIDE, Organ.ARM, Organ.TABLE)


@dataclass(frozen=True, slots=True)
class SnomedCode:
    """One concept of SNOMED CT."""

    value: str
    meaning: str
    laterality: tuple[str, str] | None = None


_RIGHT, _LEFT = ("24028007", "Right"), ("7771000", "Left")

SNOMED: Final = {
    Organ.SUBCUTANEOUS_FAT: SnomedCode("71966008", "Subcutaneous tissue"),
    Organ.MUSCLE: SnomedCode("127954009", "Skeletal muscle"),
    Organ.VISCERAL_FAT: SnomedCode("725273006", "Adipose tissue of abdomen"),
    Organ.LUNG_RIGHT: SnomedCode("39607008", "Lung", _RIGHT),
    Organ.LUNG_LEFT: SnomedCode("39607008", "Lung", _LEFT),
    Organ.AIRWAY: SnomedCode("44567001", "Trachea"),
    Organ.ESOPHAGUS: SnomedCode("32849002", "Esophagus"),
    Organ.HEART: SnomedCode("80891009", "Heart"),
    Organ.AORTA: SnomedCode("15825003", "Aorta"),
    Organ.PULMONARY_ARTERY: SnomedCode("81040000", "Pulmonary artery"),
    Organ.SUPERIOR_VENA_CAVA: SnomedCode("48345005", "Superior vena cava"),
    Organ.INFERIOR_VENA_CAVA: SnomedCode("64131007", "Inferior vena cava"),
    Organ.PORTAL_VEIN: SnomedCode("32764006", "Portal vein"),
    Organ.LIVER: SnomedCode("10200004", "Liver"),
    Organ.SPLEEN: SnomedCode("78961009", "Spleen"),
    Organ.KIDNEY_RIGHT: SnomedCode("64033007", "Kidney", _RIGHT),
    Organ.KIDNEY_LEFT: SnomedCode("64033007", "Kidney", _LEFT),
    Organ.ADRENAL_RIGHT: SnomedCode("23451007", "Adrenal gland", _RIGHT),
    Organ.ADRENAL_LEFT: SnomedCode("23451007", "Adrenal gland", _LEFT),
    Organ.GALLBLADDER: SnomedCode("28231008", "Gallbladder"),
    Organ.PANCREAS: SnomedCode("15776009", "Pancreas"),
    Organ.STOMACH: SnomedCode("69695003", "Stomach"),
    Organ.DUODENUM: SnomedCode("38848004", "Duodenum"),
    Organ.SMALL_BOWEL: SnomedCode("30315005", "Small Intestine"),
    Organ.COLON: SnomedCode("71854001", "Colon"),
    Organ.BLADDER: SnomedCode("89837001", "Bladder"),
    Organ.PROSTATE: SnomedCode("41216001", "Prostate"),
    Organ.UTERUS: SnomedCode("35039007", "Uterus"),
    Organ.LYMPH_NODE: SnomedCode("59441001", "Lymph node"),
    Organ.RIBS: SnomedCode("113197003", "Rib"),
    Organ.SACRUM: SnomedCode("54735007", "Sacrum"),
}
"""Codes of the structures that results name. What is missing here is only ever a neighbour."""


def name_of(organ: Organ) -> str:
    """The name in lower case, e.g. "kidney right", "vertebra T12"."""
    first, _, rest = organ.name.partition("_")
    if first == "VERTEBRA":
        return f"vertebra {rest}"
    return organ.name.replace("_", " ").lower()
