"""A labelled CT: anatomy, disease and scanner in one call."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.domain.volumes import Grid
from dicomnode.phantom.anatomy import Anatomy, Region, make_anatomy
from dicomnode.phantom.lesions import Garden, Lesion, LesionKind, blend
from dicomnode.phantom.planters import plant
from dicomnode.phantom.scanner import Scan, draw_scan, scanned, tissue_hu
from dicomnode.phantom.structures import NOT_BODY
from dicomnode.phantom.tissues import Phase

_DISEASE, _SCAN = 0xD15, 0x5CA


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One synthetic CT with its truth. All arrays are (slice, row, column) of `grid`."""

    hu: npt.NDArray[np.float32]
    """Hounsfield units, whole numbers."""
    labels: npt.NDArray[np.uint8]
    """`Organ` of every voxel."""
    tissue: npt.NDArray[np.uint8]
    """`Tissue` of every voxel."""
    lesion_map: npt.NDArray[np.uint16]
    """`Lesion.index` of every voxel, 0 where there is none."""
    lesions: tuple[Lesion, ...]
    grid: Grid
    """LPS, mm: rows run to the back, columns to the patient's left, slices to the head."""
    scan: Scan


def make_case(
    seed: int,
    *,
    region: Region | tuple[float, float] = Region.TRUNK,
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
    phase: Phase | None = None,
    pathology: Mapping[LesionKind, int] | None = None,
    scan: Scan | None = None,
    detail: bool = True,
) -> Case:
    """Make the case `seed`; equal arguments give equal arrays.

    `region`: a part of the trunk, or lowest and highest z of the body plan in mm.
    `spacing_mm`: (slice, row, column). `phase` and `scan`: drawn by the seed where not given.
    `pathology`: how many lesions of each kind to plant; what finds no place is left out, so count
    `Case.lesions`.
    """
    anatomy = make_anatomy(seed, region=region, spacing_mm=spacing_mm, detail=detail)
    return render(anatomy, seed, phase=phase, pathology=pathology, scan=scan)


def render(
    anatomy: Anatomy,
    seed: int,
    *,
    phase: Phase | None = None,
    pathology: Mapping[LesionKind, int] | None = None,
    scan: Scan | None = None,
) -> Case:
    """Plant disease in an anatomy, painted or real, and scan it; see `make_case`."""
    rng = np.random.default_rng([_SCAN, seed])
    spacing = anatomy.grid.spacing_mm
    scan = scan or draw_scan(rng, spacing, phase)
    disease = np.random.default_rng([_DISEASE, seed])
    garden = Garden(anatomy, disease, contrast=scan.phase is not Phase.NATIVE)
    plant(garden, pathology or {})
    hu = tissue_hu(rng, garden.labels, garden.tissue, spacing, scan, anatomy.age)
    blend(garden, hu)
    seen = scanned(rng, hu, spacing, scan, back_row(anatomy))
    return Case(
        hu=np.round(seen),
        labels=garden.labels,
        tissue=garden.tissue,
        lesion_map=garden.lesion_map,
        lesions=tuple(garden.lesions),
        grid=anatomy.grid,
        scan=scan,
    )


def back_row(anatomy: Anatomy) -> int | None:
    """Row under the back where a table begins; None if the back reaches the last row."""
    outside = np.isin(anatomy.labels, [int(o) for o in NOT_BODY])
    rows = np.flatnonzero(~outside.all(axis=(0, 2)))
    if not rows.size or rows[-1] + 2 >= anatomy.labels.shape[1]:
        return None
    return int(rows[-1]) + 1


def draw_pathology(seed: int) -> dict[LesionKind, int]:
    """So many lesions of each kind as a mixed clinic might show; none of most."""
    rng = np.random.default_rng([_DISEASE, _SCAN, seed])
    often = {
        LesionKind.MEDIASTINAL_NODE: (0.4, 8),
        LesionKind.AXILLARY_NODE: (0.25, 5),
        LesionKind.ABDOMINAL_NODE: (0.35, 8),
        LesionKind.LUNG_NODULE: (0.4, 6),
        LesionKind.LIVER_LESION: (0.3, 6),
        LesionKind.BONE_LESION: (0.2, 8),
        LesionKind.COLON_POLYP: (0.15, 4),
        LesionKind.KIDNEY_MASS: (0.12, 2),
        LesionKind.ADRENAL_MASS: (0.08, 1),
        LesionKind.EFFUSION: (0.12, 2),
        LesionKind.CONSOLIDATION: (0.12, 3),
        LesionKind.EMPHYSEMA: (0.15, 12),
        LesionKind.CALCIFICATION: (0.4, 20),
    }
    return {
        kind: int(rng.integers(1, most + 1))
        for kind, (chance, most) in often.items()
        if rng.random() < chance
    }
