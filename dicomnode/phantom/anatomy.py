"""One person's labelled anatomy on a grid, painted from the body plan or taken from real masks."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomnode.domain.volumes import Grid
from dicomnode.phantom.abdomen import (
    paint_abdominal_arteries,
    paint_pancreas,
    paint_solid_organs,
    pancreas_line,
)
from dicomnode.phantom.bowel import (
    paint_colon,
    paint_pelvic_organs,
    paint_small_bowel,
    paint_stomach_and_duodenum,
)
from dicomnode.phantom.canvas import Canvas
from dicomnode.phantom.chest import paint_chest
from dicomnode.phantom.plan import Plan
from dicomnode.phantom.skeleton import paint_cage, paint_pelvis, paint_spine
from dicomnode.phantom.structures import Organ
from dicomnode.phantom.trunk import paint_arms, paint_trunk


class Region(Enum):
    """Which part of the trunk: lowest and highest z of the body plan in mm."""

    TRUNK = (-215.0, 520.0)
    CHEST = (150.0, 510.0)
    ABDOMEN = (10.0, 320.0)
    PELVIS = (-200.0, 80.0)
    ABDOMEN_AND_PELVIS = (-200.0, 320.0)
    CHEST_AND_ABDOMEN = (10.0, 510.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """Labels without intensities. Arrays are (slice, row, column) as `grid` says (LPS, mm)."""

    labels: npt.NDArray[np.uint8]
    """`Organ` of every voxel; one voxel is one organ, so organs never overlap."""
    tissue: npt.NDArray[np.uint8]
    """`Tissue` of every voxel: wall or contents, cortex or marrow, blood or muscle."""
    grid: Grid
    age: float
    """0 young adult to 1 very old: marrow, fat between lobules, calcium."""
    fine: npt.NDArray[np.float32]
    """Smooth noise of unit variance, grain 16 mm, for texture that follows no label."""


HALF_WIDTH_MM, HALF_DEPTH_MM = 210.0, 168.0
"""Half the field of view across and front to back."""

_PERSON: Final = 0x0D1C


def make_anatomy(
    seed: int,
    *,
    region: Region | tuple[float, float] = Region.TRUNK,
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
    detail: bool = True,
    half_width_mm: float = HALF_WIDTH_MM,
    half_depth_mm: float = HALF_DEPTH_MM,
) -> Anatomy:
    """Paint the person `seed`: the same seed, region and spacing give the same arrays.

    `region`: a part of the trunk, or lowest and highest z of the body plan in mm.
    `spacing_mm`: (slice, row, column). `detail`: vessels within the lungs too.
    """
    rng = np.random.default_rng([_PERSON, seed])
    plan = Plan(rng)
    canvas = _canvas(rng, plan, region, spacing_mm, (half_width_mm, half_depth_mm))
    _paint(canvas, plan, detail)
    affine = np.zeros((4, 4))
    for axis in range(3):
        affine[axis, 2 - axis] = spacing_mm[2 - axis]
        affine[axis, 3] = canvas.origin[axis]
    affine[3, 3] = 1.0
    grid = Grid(affine_lps_mm=affine, shape=canvas.shape, frame_of_reference_uid=None)
    labels, tissue = canvas.labels, canvas.tissue
    return Anatomy(labels=labels, tissue=tissue, grid=grid, age=plan.age, fine=canvas.fine)


def _canvas(
    rng: np.random.Generator,
    plan: Plan,
    region: Region | tuple[float, float],
    spacing: tuple[float, float, float],
    half: tuple[float, float],
) -> Canvas:
    u = rng.uniform
    tall, broad = u(0.88, 1.12), u(0.93, 1.08)
    small = 0.94 if plan.female else 1.0
    scale = (broad * small * u(0.95, 1.05), broad * small * u(0.93, 1.06), tall * small)
    if rng.random() < 0.004:
        scale = (-scale[0], scale[1], scale[2])  # situs inversus
    low, high = region.value if isinstance(region, Region) else region
    low, high = low * scale[2], high * scale[2]
    middle = -26.0 + u(-10, 10)
    shape = (
        max(round(abs(high - low) / spacing[0]), 1),
        round(2 * half[1] / spacing[1]),
        round(2 * half[0] / spacing[2]),
    )
    across = u(-12, 12)
    origin = (across - half[0] + spacing[2] / 2, middle - half[1] + spacing[1] / 2, low)
    return Canvas(
        rng,
        shape=shape,
        spacing=spacing,
        origin=origin,
        scale=scale,
        turn=float(rng.normal(0, 0.05)),
        elastic_mm=float(u(1.5, 4.5)),
    )


def _paint(canvas: Canvas, plan: Plan, detail: bool) -> None:
    fields = paint_trunk(canvas, plan)
    paint_arms(canvas, plan)
    paint_spine(canvas, plan)
    paint_cage(canvas, plan)
    paint_pelvis(canvas, plan, fields)
    paint_chest(canvas, plan, detail)
    kidneys = paint_solid_organs(canvas, plan, fields)
    line = pancreas_line(plan)
    paint_pancreas(canvas, plan, line)
    paint_abdominal_arteries(canvas, plan, kidneys, line)
    paint_stomach_and_duodenum(canvas, plan, line[1, :3])
    paint_pelvic_organs(canvas, plan)
    paint_colon(canvas, plan)
    paint_small_bowel(canvas, plan)
    canvas.tissue[canvas.labels == Organ.OUTSIDE] = 0
