"""What kinds of disease are planted into an anatomy, and where each finds a place."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from dicomnode.phantom.canvas import smooth_noise
from dicomnode.phantom.lesions import Garden, LesionKind, is_one
from dicomnode.phantom.structures import FATS, LUNGS, VERTEBRAE, Organ, Tissue


def plant(garden: Garden, pathology: Mapping[LesionKind, int]) -> None:
    """Plant so many lesions of each kind; what finds no place after many tries is left out."""
    for kind in LesionKind:
        for _ in range(pathology.get(kind, 0)):
            for _ in range(40):
                if _PLANTERS[kind](garden, kind):
                    break


_MEDIASTINAL: Final = (Organ.AIRWAY, Organ.AORTA, Organ.PULMONARY_ARTERY, Organ.ESOPHAGUS)
_ABDOMINAL: Final = (Organ.AORTA, Organ.INFERIOR_VENA_CAVA, Organ.ARTERY, Organ.PORTAL_VEIN)
_SOFT: Final = (Organ.SUBCUTANEOUS_FAT, Organ.MUSCLE)


def _node(garden: Garden, kind: LesionKind) -> bool:
    """An oval beside a vessel, in the fat of its station."""
    near, room = {
        LesionKind.MEDIASTINAL_NODE: (_MEDIASTINAL, (Organ.MEDIASTINAL_FAT,)),
        LesionKind.ABDOMINAL_NODE: (_ABDOMINAL, (Organ.VISCERAL_FAT,)),
        LesionKind.AXILLARY_NODE: ((Organ.ARTERY, Organ.VEIN), _SOFT),
    }[kind]
    rng = garden.rng
    vessel = garden.somewhere(near)
    if vessel is None:
        return False
    radius = float(np.clip(rng.lognormal(1.75, 0.45), 2.5, 17))
    offset = rng.normal(0, 1, 3)
    offset = offset / np.linalg.norm(offset) * rng.uniform(radius + 3, radius + 20)
    at = vessel + np.round(offset / garden.spacing).astype(np.int64)
    inside = ((at >= 0) & (at < garden.labels.shape)).all()
    if not inside or garden.labels[tuple(at)] not in room:
        return False
    if kind is LesionKind.AXILLARY_NODE:
        aside = abs(float((garden.grid.affine_lps_mm @ [*at, 1.0])[0]))
        ribs = garden.voxels((Organ.VERTEBRA_T6,))
        chest = ribs.min() // garden.labels[0].size if ribs.size else len(garden.labels)
        if aside < 85 or at[0] < chest:
            return False
    shape = garden.ball(at, radius, room, stretch=rng.uniform(1, 1.9), lumps=0.1)
    if shape is None:
        return False
    base = rng.normal(88, 18) if garden.contrast else rng.normal(40, 8)
    site = Organ(int(garden.labels[tuple(vessel)]))
    becomes = (Organ.LYMPH_NODE, Tissue.WALL)
    garden.keep(kind, shape, float(base), site=site, becomes=becomes)
    return True


def _lung_nodule(garden: Garden, kind: LesionKind) -> bool:
    rng = garden.rng
    at = garden.somewhere(LUNGS)
    if at is None:
        return False
    radius = float(np.clip(rng.lognormal(1.6, 0.5), 2.0, 18))
    form = str(rng.choice(["solid", "ground glass", "spiculated", "juxtapleural"]))
    if form == "juxtapleural":
        ahead = at + np.round(rng.normal(0, radius, 3) / garden.spacing).astype(np.int64)
        ahead = np.clip(ahead, 0, np.asarray(garden.labels.shape) - 1)
        if garden.labels[tuple(ahead)] in LUNGS:
            return False
    spikes = int(rng.integers(6, 14)) if form == "spiculated" else 0
    shape = garden.ball(at, radius, LUNGS, stretch=rng.uniform(1, 1.4), spikes=spikes)
    if shape is None:
        return False
    hu = rng.uniform(-680, -350) if form == "ground glass" else rng.uniform(-20, 90)
    if form == "solid" and rng.random() < 0.1:
        hu = rng.uniform(200, 900)
    site = Organ(int(garden.labels[tuple(at)]))
    garden.keep(kind, shape, float(hu), site=site, attribute=form)
    return True


def _within(
    organs: tuple[Organ, ...],
    room: tuple[Organ, ...],
    radii: tuple[float, float],
    look: Callable[[Garden], tuple[float, str, bool]],
    becomes: Organ | None = None,
) -> Callable[[Garden, LesionKind], bool]:
    """A planter of uneven balls centred in `organs` that may reach into `room`."""

    def planter(garden: Garden, kind: LesionKind) -> bool:
        rng = garden.rng
        at = garden.somewhere(organs)
        if at is None:
            return False
        radius = radii[0] * (radii[1] / radii[0]) ** (rng.random() ** 1.4)
        shape = garden.ball(at, float(radius), room, stretch=rng.uniform(1, 1.5))
        if shape is None:
            return False
        hu, attribute, adds = look(garden)
        site = Organ(int(garden.labels[tuple(at)]))
        if becomes is not None:
            box, share = shape
            outside = (share > 0.5) & is_one(FATS, garden.labels[box])
            garden.labels[box][outside] = becomes
            garden.tissue[box][outside] = Tissue.WALL
        garden.keep(kind, shape, hu, site=site, attribute=attribute, adds=adds)
        return True

    return planter


def _liver_look(garden: Garden) -> tuple[float, str, bool]:
    form = str(garden.rng.choice(["hypodense", "hyperdense", "cyst"], p=(0.55, 0.2, 0.25)))
    if form == "cyst":
        return float(garden.rng.uniform(-2, 18)), form, False
    change = garden.rng.uniform(15, 65)
    return float(change if form == "hyperdense" else -change), form, True


def _mass_look(garden: Garden) -> tuple[float, str, bool]:
    hu = garden.rng.uniform(40, 140) if garden.contrast else garden.rng.uniform(-5, 50)
    return float(hu), "", False


def _bone_look(garden: Garden) -> tuple[float, str, bool]:
    return float(garden.rng.uniform(380, 1000)), "sclerotic", False


def _polyp(garden: Garden, kind: LesionKind) -> bool:
    """A knob on the wall of the colon that stands out into the lumen."""
    rng = garden.rng
    at = garden.somewhere((Organ.COLON,))
    if at is None or garden.tissue[tuple(at)] != Tissue.WALL:
        return False
    lumen = garden.tissue == Tissue.INNER
    radius = float(rng.uniform(2.5, 11))
    box, _ = garden.around(at, radius * 1.3)
    if lumen[box].mean() < 0.2:
        return False
    shape = garden.ball(at, radius, (Organ.COLON, *FATS), lumps=0.08)
    if shape is None:
        return False
    box2, whole = shape
    share = whole * lumen[box2] * (garden.labels[box2] == Organ.COLON)
    if (share > 0.5).sum() * garden.grid.voxel_mm3 < 15:
        return False
    hu = float(rng.normal(60 if garden.contrast else 38, 10))
    becomes = (Organ.COLON, Tissue.WALL)
    garden.keep(kind, (box2, share), hu, site=Organ.COLON, becomes=becomes)
    return True


def _effusion(garden: Garden, kind: LesionKind) -> bool:
    """Fluid behind a wavy level in one chest; its place is no lung any more."""
    rng = garden.rng
    side = LUNGS[int(rng.integers(2))]
    lung = garden.labels == side
    if not lung.any():
        return False
    rows = np.flatnonzero(lung.any((0, 2)))
    level = rows[0] + rng.uniform(0.55, 0.92) * (rows[-1] - rows[0])
    tilt = np.linspace(1, 0, lung.shape[0])[:, None, None] * rng.uniform(0, 0.35) * len(rows)
    at = np.arange(lung.shape[1])[None, :, None] + tilt + 1.5 * garden.fine
    share = (lung & (at > level) & (garden.lesion_map == 0)).astype(np.float32)
    if share.sum() * garden.grid.voxel_mm3 < 5000:
        return False
    whole = (slice(0, lung.shape[0]), slice(0, lung.shape[1]), slice(0, lung.shape[2]))
    attribute = "right" if side is Organ.LUNG_RIGHT else "left"
    becomes = (Organ.EFFUSION, Tissue.WALL)
    hu = float(rng.uniform(-2, 25))
    garden.keep(kind, (whole, share), hu, site=side, attribute=attribute, becomes=becomes)
    return True


def _lung_disease(low: float, high: float) -> Callable[[Garden, LesionKind], bool]:
    def planter(garden: Garden, kind: LesionKind) -> bool:
        rng = garden.rng
        at = garden.somewhere(LUNGS)
        if at is None:
            return False
        radius = float(rng.uniform(15, 55))
        shape = garden.ball(at, radius, LUNGS, lumps=0.4)
        if shape is None:
            return False
        box, share = shape
        if kind is LesionKind.EMPHYSEMA:
            holes = smooth_noise(rng, share.shape, garden.spacing, float(rng.uniform(6, 16)))
            share = share * np.clip(0.5 + 2 * holes, 0, 1)
            if not (share > 0.5).any():
                return False
        site = Organ(int(garden.labels[tuple(at)]))
        garden.keep(kind, (box, share), float(rng.uniform(low, high)), site=site)
        return True

    return planter


def _calcification(garden: Garden, kind: LesionKind) -> bool:
    """A plate in the outermost shell of the aorta."""
    rng = garden.rng
    at = garden.somewhere((Organ.AORTA,))
    if at is None:
        return False
    near, _ = garden.around(at, max(garden.spacing))
    if (garden.labels[near] == Organ.AORTA).all():
        return False
    shape = garden.ball(at, float(rng.uniform(1.8, 6)), (Organ.AORTA,), stretch=1.6, lumps=0.3)
    if shape is None:
        return False
    becomes = (Organ.AORTA, Tissue.CALCIUM)
    garden.keep(kind, shape, float(rng.uniform(250, 1200)), site=Organ.AORTA, becomes=becomes)
    return True


_KIDNEYS: Final = (Organ.KIDNEY_RIGHT, Organ.KIDNEY_LEFT)
_ADRENALS: Final = (Organ.ADRENAL_RIGHT, Organ.ADRENAL_LEFT)
_SPONGY: Final = (*VERTEBRAE, Organ.SACRUM, Organ.HIP_BONE)
_PLANTERS: Final[dict[LesionKind, Callable[[Garden, LesionKind], bool]]] = {
    LesionKind.MEDIASTINAL_NODE: _node,
    LesionKind.AXILLARY_NODE: _node,
    LesionKind.ABDOMINAL_NODE: _node,
    LesionKind.LUNG_NODULE: _lung_nodule,
    LesionKind.LIVER_LESION: _within((Organ.LIVER,), (Organ.LIVER,), (3, 28), _liver_look),
    LesionKind.BONE_LESION: _within(_SPONGY, _SPONGY, (2.5, 12), _bone_look),
    LesionKind.COLON_POLYP: _polyp,
    LesionKind.KIDNEY_MASS: _within(
        _KIDNEYS, (*_KIDNEYS, Organ.VISCERAL_FAT), (5, 30), _mass_look, Organ.MASS
    ),
    LesionKind.ADRENAL_MASS: _within(
        _ADRENALS, (*_ADRENALS, Organ.VISCERAL_FAT), (5, 20), _mass_look, Organ.MASS
    ),
    LesionKind.EFFUSION: _effusion,
    LesionKind.CONSOLIDATION: _lung_disease(-60, 80),
    LesionKind.EMPHYSEMA: _lung_disease(-1010, -960),
    LesionKind.CALCIFICATION: _calcification,
}
