"""Where in the body a lesion lies, told from the tissues of the CT: station, side, kind of bone.

From the coarse map of `pipeline.body_map`, by rules that a person can check on the image; no
network. What no rule decides keeps the site that `dicom.json` gives the type.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError

from dicomnode.domain.codes import LEFT, RIGHT, Code
from dicomnode.domain.findings import LesionFinding
from dicomnode.domain.sites import (
    ABDOMINAL_NODE,
    AXILLARY_NODE,
    INGUINAL_NODE,
    MEDIASTINAL_NODE,
    NECK_NODE,
    PELVIC_NODE,
    PELVIS_BONE,
    RETROPERITONEAL_NODE,
    RIB,
    SPINE,
    THORACIC_NODE,
    Refined,
)
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.body_map import AIR, BONE, NOT_IMAGED, OUTSIDE, tissues_of

Bools = npt.NDArray[np.bool_]
Point = tuple[float, float, float]

_LEAST_LUNG_ML = 150.0
_CHEST_SHARE = 0.3
"""A slice belongs to the chest if it shows this share of the widest slice of the lungs."""
_HIP_CM2 = 7.0
"""Bone on each side beyond 45 mm of the middle: ribs show less, hips more."""
_SPINE_MM, _FRONT_OF_SPINE_MM = 45.0, 55.0
_MIDDLE_MM = 12.0
"""Around the middle of the body neither side is told."""
_SKIN_MM = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """What the rules look at; arrays are (z, y, x) of the body map, z to the head, LPS."""

    origin_mm: Point
    spacing_mm: float
    body: Bools
    bone: Bools
    lungs: Bools
    middle: npt.NDArray[np.float64]
    """Column of the body's middle on each slice."""
    back: npt.NDArray[np.float64]
    """Row of the vertebral column's front on each slice; nan where no bone shows it."""

    def index_of(self, point: Point) -> tuple[int, int, int]:
        """(z, y, x) of a point in LPS mm, inside the map."""
        at = (np.array(point) - self.origin_mm) / self.spacing_mm
        z, y, x = np.clip(np.rint(at[::-1]), 0, np.array(self.body.shape) - 1).astype(int)
        return int(z), int(y), int(x)


def landmarks_of(volume: Volume) -> Landmarks:
    """The landmarks of a CT in Hounsfield units."""
    mapped = tissues_of(volume)
    classes = mapped.classes
    body = (classes != OUTSIDE) & (classes != NOT_IMAGED)
    lungs = _lungs(classes == AIR, mapped.spacing_mm)
    bone = classes == BONE
    columns = np.arange(body.shape[2])
    count = body.sum(axis=(1, 2))
    middle = (body.sum(axis=1) @ columns) / np.maximum(count, 1)
    back = np.full(len(body), np.nan)
    for z in range(len(body)):
        near = np.abs(columns - middle[z]) * mapped.spacing_mm <= 30
        rows = np.flatnonzero(body[z].any(axis=1))
        if len(rows) == 0:
            continue
        # The vertebral column lies in the back half; the sternum in the front one does not count.
        half = (rows[0] + rows[-1]) / 2
        of_spine = np.flatnonzero(bone[z][:, near].sum(axis=1) >= 2)
        of_spine = of_spine[of_spine > half]
        if len(of_spine):
            back[z] = of_spine[0]
    return Landmarks(
        origin_mm=mapped.origin_lps_mm,
        spacing_mm=mapped.spacing_mm,
        body=body,
        bone=bone,
        lungs=lungs,
        middle=middle,
        back=back,
    )


def _lungs(air: Bools, spacing_mm: float) -> Bools:
    """Large parts of air within the body; bowel gas hangs together in smaller ones."""
    parts, _ = ndimage.label(air)
    millilitres = np.bincount(parts.ravel()) * spacing_mm**3 / 1000
    large = np.flatnonzero(millilitres >= _LEAST_LUNG_ML)
    return np.asarray(np.isin(parts, large[large > 0]))


def with_sites(
    lesions: Sequence[LesionFinding], refined: Sequence[Refined | None], volume: Volume
) -> tuple[LesionFinding, ...]:
    """The lesions with their sites told more exactly where a rule decides.

    Args:
        lesions: on the volume's grid.
        refined: how, for each of them; None: its site stays.
        volume: the CT, in Hounsfield units.
    """
    if not any(refined):
        return tuple(lesions)
    marks = landmarks_of(volume)
    found = []
    for one, how in zip(lesions, refined, strict=True):
        if how is None or one.box_lps_mm is None:
            found.append(one)
            continue
        x, y, z = one.box_lps_mm.mean(axis=0).tolist()
        site, side = site_of(marks, (x, y, z), how)
        found.append(
            replace(one, site=site or one.site, laterality=side if one.site or site else None)
        )
    return tuple(found)


def site_of(marks: Landmarks, point: Point, how: Refined) -> tuple[Code | None, Code | None]:
    """Site and laterality of a point in LPS mm; None each where no rule decides."""
    z, y, x = marks.index_of(point)
    aside = (x - marks.middle[z]) * marks.spacing_mm
    side = None if abs(aside) < _MIDDLE_MM else LEFT if aside > 0 else RIGHT
    if how is Refined.SIDE:
        return None, side
    if how is Refined.BONE:
        return _bone_at(marks, z, y, aside)
    node = _node_at(marks, z, y, x, aside)
    return node, side if node in (AXILLARY_NODE, INGUINAL_NODE, NECK_NODE) else None


def _bone_at(marks: Landmarks, z: int, y: int, aside: float) -> tuple[Code | None, Code | None]:
    side = LEFT if aside > 0 else RIGHT
    if abs(aside) <= _SPINE_MM and not np.isnan(marks.back[z]) and y >= marks.back[z] - 2:
        return SPINE, None
    if _shows_hips(marks, z):
        return PELVIS_BONE, side
    if _lung_share(marks, z) > 0:
        return RIB, side
    return None, None


def _node_at(marks: Landmarks, z: int, y: int, x: int, aside: float) -> Code | None:
    if not marks.body[z].any():
        return None
    if _lung_share(marks, z) >= _CHEST_SHARE:
        return _in_chest(marks, z, y, x, aside)
    slices = np.flatnonzero(marks.lungs.any(axis=(1, 2)))
    if len(slices) and z >= slices[-1]:
        return NECK_NODE
    if _shows_hips(marks, z):
        rows = np.flatnonzero(marks.body[z][:, x])
        shallow = len(rows) and (y - rows[0]) * marks.spacing_mm <= _SKIN_MM
        return INGUINAL_NODE if shallow and 25 <= abs(aside) <= 120 else PELVIC_NODE
    front = (marks.back[z] - y) * marks.spacing_mm
    near_spine = abs(aside) <= _SPINE_MM and not np.isnan(front) and front <= _FRONT_OF_SPINE_MM
    return RETROPERITONEAL_NODE if near_spine else ABDOMINAL_NODE


def _in_chest(marks: Landmarks, z: int, y: int, x: int, aside: float) -> Code:
    if _between_lungs(marks.lungs[z], y, x):
        return MEDIASTINAL_NODE
    columns = np.flatnonzero(marks.lungs[z].any(axis=0))
    outer = max(marks.middle[z] - columns[0], columns[-1] - marks.middle[z])
    lateral = abs(aside) >= 0.75 * outer * marks.spacing_mm
    # Axillae lie beside the upper half of the lungs.
    slices = np.flatnonzero(marks.lungs.any(axis=(1, 2)))
    upper = z >= (slices[0] + slices[-1]) / 2
    return AXILLARY_NODE if lateral and upper else THORACIC_NODE


def _lung_share(marks: Landmarks, z: int) -> float:
    """Lung on a slice over that of the slice that shows most of it."""
    areas = marks.lungs.sum(axis=(1, 2))
    return float(areas[z] / areas.max()) if areas.any() else 0.0


def _between_lungs(lungs: Bools, y: int, x: int) -> bool:
    """Within the outline that lies around both lungs."""
    try:
        outline = Delaunay(np.argwhere(lungs))
    except QhullError:  # fewer than three voxels that are not on one line
        return False
    return bool(outline.find_simplex(np.array([[y, x]], float))[0] >= 0)


def _shows_hips(marks: Landmarks, z: int) -> bool:
    """Much bone on both sides, away from the middle, and no lung."""
    if marks.lungs[z].any():
        return False
    columns = (np.arange(marks.bone.shape[2]) - marks.middle[z]) * marks.spacing_mm
    cm2 = marks.bone[z].sum(axis=0) * marks.spacing_mm**2 / 100
    return bool(cm2[columns < -45].sum() >= _HIP_CM2 and cm2[columns > 45].sum() >= _HIP_CM2)
