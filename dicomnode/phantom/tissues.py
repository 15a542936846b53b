"""Hounsfield units of tissues in each phase of contrast medium, drawn anew for every scan."""

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomnode.phantom.structures import BONES, LUNGS, Organ, Tissue


class Phase(IntEnum):
    """When the scan was made after contrast medium was given."""

    NATIVE = 0
    ARTERIAL = 1
    PORTAL = 2
    LATE = 3


_MEANS: Final[dict[Organ, tuple[float, float, float, float]]] = {
    Organ.SKIN: (10, 15, 25, 25),
    Organ.SUBCUTANEOUS_FAT: (-105, -105, -102, -102),
    Organ.VISCERAL_FAT: (-102, -101, -98, -98),
    Organ.MEDIASTINAL_FAT: (-95, -94, -90, -90),
    Organ.MUSCLE: (52, 55, 62, 62),
    Organ.DIAPHRAGM: (50, 55, 60, 60),
    Organ.PSOAS: (54, 58, 64, 64),
    Organ.PARASPINAL_MUSCLE: (48, 52, 58, 58),
    Organ.ARM: (30, 34, 38, 38),
    Organ.LUNG_RIGHT: (-835, -835, -830, -830),
    Organ.LUNG_LEFT: (-835, -835, -830, -830),
    Organ.AIRWAY: (20, 25, 30, 30),
    Organ.ESOPHAGUS: (38, 50, 65, 65),
    Organ.HEART: (46, 95, 110, 95),
    Organ.AORTA: (42, 330, 165, 125),
    Organ.PULMONARY_ARTERY: (42, 260, 155, 125),
    Organ.PULMONARY_VEIN: (42, 280, 160, 125),
    Organ.SUPERIOR_VENA_CAVA: (42, 260, 150, 125),
    Organ.INFERIOR_VENA_CAVA: (40, 85, 145, 125),
    Organ.ARTERY: (42, 320, 160, 125),
    Organ.VEIN: (41, 110, 155, 125),
    Organ.PORTAL_VEIN: (41, 110, 175, 130),
    Organ.THYROID: (100, 190, 170, 160),
    Organ.LIVER: (57, 68, 110, 95),
    Organ.SPLEEN: (48, 115, 122, 100),
    Organ.KIDNEY_RIGHT: (32, 160, 185, 150),
    Organ.KIDNEY_LEFT: (32, 160, 185, 150),
    Organ.ADRENAL_RIGHT: (28, 75, 75, 65),
    Organ.ADRENAL_LEFT: (28, 75, 75, 65),
    Organ.GALLBLADDER: (30, 45, 60, 60),
    Organ.PANCREAS: (40, 100, 95, 80),
    Organ.STOMACH: (38, 70, 85, 80),
    Organ.DUODENUM: (38, 75, 90, 80),
    Organ.SMALL_BOWEL: (38, 80, 95, 80),
    Organ.COLON: (36, 65, 80, 75),
    Organ.BLADDER: (30, 40, 55, 55),
    Organ.PROSTATE: (40, 60, 85, 85),
    Organ.UTERUS: (48, 85, 110, 105),
    Organ.BREAST: (30, 45, 55, 55),
    Organ.SPINAL_CANAL: (28, 30, 34, 34),
    Organ.DISC: (85, 88, 90, 90),
    Organ.COSTAL_CARTILAGE: (95, 97, 100, 100),
    Organ.LYMPH_NODE: (38, 70, 90, 85),
    Organ.EFFUSION: (8, 10, 12, 14),
    Organ.MASS: (35, 75, 85, 80),
    Organ.TABLE: (-500, -500, -500, -500),
    Organ.METAL: (3000, 3000, 3000, 3000),
}
_SPREAD: Final = {
    Organ.LUNG_RIGHT: 45.0,
    Organ.LIVER: 15.0,
    Organ.PANCREAS: 14.0,
    Organ.DISC: 22.0,
    Organ.COSTAL_CARTILAGE: 30.0,
    Organ.THYROID: 30.0,
    Organ.SPINAL_CANAL: 12.0,
    Organ.METAL: 0.0,
}
_FAT_LIKE: Final = (Organ.SUBCUTANEOUS_FAT, Organ.VISCERAL_FAT, Organ.MEDIASTINAL_FAT)
_VESSELS: Final = (
    Organ.AORTA,
    Organ.ARTERY,
    Organ.PULMONARY_ARTERY,
    Organ.PULMONARY_VEIN,
    Organ.SUPERIOR_VENA_CAVA,
    Organ.INFERIOR_VENA_CAVA,
    Organ.VEIN,
    Organ.PORTAL_VEIN,
)
_KIDNEYS: Final = (Organ.KIDNEY_RIGHT, Organ.KIDNEY_LEFT)
KINDS: Final = len(Tissue)

Table = npt.NDArray[np.float32]


def draw_means(
    rng: np.random.Generator, phase: Phase, age: float, *, variety_hu: float = 0.0
) -> Table:
    """Mean HU `(256, len(Tissue))` of this scan, by organ and tissue.

    Around what the phase gives, with the spread between people and between timings of contrast
    medium: a strong, weak or early bolus moves all vessels together. `variety_hu` adds to the
    spread of each organ and of all together, and lets fat into muscle, pancreas and kidneys, so
    that a network meets people whom no textbook describes.
    """
    table = np.full((256, KINDS), -1000.0, np.float32)
    bolus = float(rng.uniform(0.55, 1.35)) if phase else 1.0
    lean = float(rng.normal(0, 5))
    for organ, means in _MEANS.items():
        spread = _SPREAD.get(organ, 4.0 if organ in _FAT_LIKE else 9.0)
        native = means[0] + rng.normal(0, spread)
        gain = (means[phase] - means[0]) * bolus * float(rng.uniform(0.75, 1.25))
        table[organ, :] = native + gain + (lean if organ not in (*LUNGS, Organ.METAL) else 0)
    if rng.random() < 0.2:
        table[Organ.LIVER] -= rng.uniform(15, 75)  # steatosis
    table[Organ.LUNG_LEFT] = table[Organ.LUNG_RIGHT] + rng.normal(0, 12)
    if variety_hu:
        _stray(rng, table, variety_hu)
    _bones(rng, table, age)
    _blood(rng, table, bolus if phase else 1.0, phase)
    _insides(rng, table, phase)
    fat = table[Organ.VISCERAL_FAT, 0]
    table[:, Tissue.FATTY] = fat + rng.uniform(5, 45)
    table[:, Tissue.CALCIUM] = rng.uniform(300, 900)
    return table


def _stray(rng: np.random.Generator, table: Table, amount: float) -> None:
    together = rng.normal(-0.3, 0.6)
    for organ in _MEANS:
        if organ in (*LUNGS, *_FAT_LIKE, Organ.METAL, Organ.TABLE):
            continue
        table[organ] += amount * (together + rng.normal(0, 1))
    for organs, most, chance in (
        ((Organ.MUSCLE, Organ.PARASPINAL_MUSCLE), 40.0, 0.5),
        ((Organ.PSOAS,), 15.0, 0.3),
        ((Organ.PANCREAS,), 45.0, 0.5),
        ((*_KIDNEYS, Organ.ADRENAL_RIGHT, Organ.ADRENAL_LEFT), 15.0, 0.4),
    ):
        if rng.random() < chance:
            table[[int(o) for o in organs]] -= rng.uniform(0, most)


def _bones(rng: np.random.Generator, table: Table, age: float) -> None:
    cortex = rng.uniform(330, 850)
    marrow = 245 - 175 * age + rng.normal(0, 28)
    for organ in BONES:
        spongy = organ >= Organ.VERTEBRA_T1 or organ is Organ.SACRUM
        table[organ, Tissue.WALL] = cortex * (rng.uniform(0.45, 0.8) if spongy else 1.0)
        table[organ, Tissue.INNER] = marrow * rng.uniform(0.92, 1.1)
        if organ in (Organ.FEMUR, Organ.HUMERUS):
            table[organ, Tissue.INNER] = rng.uniform(-80, 120)
        elif not spongy:
            table[organ, Tissue.INNER] = marrow * rng.uniform(0.4, 1.0)


def _blood(rng: np.random.Generator, table: Table, bolus: float, phase: Phase) -> None:
    left = (42, 320, 160, 125)[phase]
    right = (42, 250, 150, 125)[phase]
    table[Organ.HEART, Tissue.COLLECTING] = 42 + (left - 42) * bolus + rng.normal(0, 5)
    mixed = 42 + (right - 42) * bolus * rng.uniform(0.5, 1.6)
    table[Organ.HEART, Tissue.RIGHT_BLOOD] = mixed
    if phase is Phase.ARTERIAL and rng.random() < 0.4:
        table[Organ.SUPERIOR_VENA_CAVA] = rng.uniform(400, 1500)
    for organ in _VESSELS:
        table[organ, Tissue.INNER] = table[organ, Tissue.WALL]
    for lung in LUNGS:
        table[lung, Tissue.VESSEL] = table[Organ.PULMONARY_ARTERY, 0] - rng.uniform(0, 60)
        table[lung, Tissue.BRONCHUS] = 0.0
    late = (-6.0, 25.0, 45.0, 12.0)[phase]
    table[Organ.LIVER, Tissue.VESSEL] = table[Organ.LIVER, 0] + late * rng.uniform(0.3, 1.3)


def _insides(rng: np.random.Generator, table: Table, phase: Phase) -> None:
    urine = rng.uniform(-5, 15)
    bright = rng.uniform(150, 1200)
    for kidney in _KIDNEYS:
        medulla = (0.0, -85.0, -12.0, 5.0)[phase]
        table[kidney, Tissue.INNER] = table[kidney, 0] + medulla * rng.uniform(0.4, 1.1)
        table[kidney, Tissue.COLLECTING] = bright if phase is Phase.LATE else urine
    table[Organ.KIDNEY_LEFT, :4] = table[Organ.KIDNEY_RIGHT, :4] + rng.normal(0, 4)
    table[Organ.BLADDER, Tissue.INNER] = urine
    if phase is Phase.LATE and rng.random() < 0.6:
        table[Organ.BLADDER, Tissue.INNER] = rng.uniform(60, 600)
    table[Organ.GALLBLADDER, Tissue.INNER] = rng.normal(9, 6) if rng.random() < 0.9 else 90.0
    table[Organ.AIRWAY, Tissue.INNER] = -985.0
    table[Organ.ESOPHAGUS, Tissue.INNER] = rng.choice([-850.0, 30.0, 10.0])


TEXTURE: Final[dict[Organ, float]] = {
    Organ.SUBCUTANEOUS_FAT: 6.0,
    Organ.VISCERAL_FAT: 10.0,
    Organ.MEDIASTINAL_FAT: 14.0,
    Organ.MUSCLE: 14.0,
    Organ.PSOAS: 8.0,
    Organ.PARASPINAL_MUSCLE: 16.0,
    Organ.BREAST: 30.0,
    Organ.LUNG_RIGHT: 30.0,
    Organ.LUNG_LEFT: 30.0,
    Organ.PANCREAS: 13.0,
    Organ.SPINAL_CANAL: 10.0,
    Organ.ARM: 40.0,
}
"""Unevenness within an organ, standard deviation in HU; 5 where not named, 45 in bone."""


def texture_table() -> Table:
    """Standard deviation of the unevenness in HU, `(256,)`."""
    table = np.full(256, 5.0, np.float32)
    table[0] = 0.0
    for organ, amount in TEXTURE.items():
        table[organ] = amount
    table[[int(b) for b in BONES]] = 45.0
    return table
