"""Stations, sides and kinds of bone, told from a body of plain shapes with known places."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.codes import LEFT, RIGHT, Code
from dicomnode.domain.findings import LesionFinding
from dicomnode.domain.identifiers import SeriesUid, StudyUid
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
    Refined,
)
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.pipeline.lesion_sites import Landmarks, landmarks_of, site_of, with_sites

NODE = Code("59441001", "SCT", "Lymph node")
STEP = 4.0


def body() -> Volume:
    """Pelvis from z 0, abdomen from 160, chest from 320 to 560, neck above; x to the left, mm."""
    z, y, x = np.meshgrid(
        np.arange(0, 640, STEP),
        np.arange(-120, 120, STEP),
        np.arange(-180, 180, STEP),
        indexing="ij",
    )
    hu = np.full(z.shape, -1000, np.float32)
    wide = np.where(z > 570, 70.0, 160.0)
    inside = (x / wide) ** 2 + (y / 100) ** 2 < 1
    hu[inside] = 40
    for side in (-1, 1):
        lung = ((x - side * 75) / 48) ** 2 + (y / 75) ** 2 < 1
        hu[lung & (z >= 320) & (z < 560)] = -850
        hip = (np.abs(x - side * 90) < 22) & (np.abs(y - 20) < 30)
        hu[hip & (z < 150)] = 400
    hu[(np.abs(x) < 18) & (np.abs(y - 65) < 20)] = 300
    affine = np.array(
        [[0, 0, STEP, -180], [0, STEP, 0, -120], [STEP, 0, 0, 0], [0, 0, 0, 1]], float
    )
    grid = Grid(affine_lps_mm=affine, shape=hu.shape, frame_of_reference_uid="1.2.3")
    return Volume(
        study_uid=StudyUid("1.2.4"),
        series_uid=SeriesUid("1.2.5"),
        modality="CT",
        array=hu,
        grid=grid,
        frames=(),
    )


@pytest.fixture(scope="module")
def marks() -> Landmarks:
    return landmarks_of(body())


NODES = {
    "between the lungs": ((0.0, 0.0, 440.0), MEDIASTINAL_NODE, None),
    "beside the upper lung, left": ((145.0, 0.0, 500.0), AXILLARY_NODE, LEFT),
    "beside the upper lung, right": ((-145.0, 0.0, 500.0), AXILLARY_NODE, RIGHT),
    "in front of the spine": ((10.0, 20.0, 240.0), RETROPERITONEAL_NODE, None),
    "in the belly": ((60.0, -40.0, 240.0), ABDOMINAL_NODE, None),
    "between the hips": ((0.0, 10.0, 80.0), PELVIC_NODE, None),
    "in the groin": ((60.0, -80.0, 60.0), INGUINAL_NODE, LEFT),
    "in the neck": ((-30.0, 0.0, 600.0), NECK_NODE, RIGHT),
}


@pytest.mark.parametrize(("point", "site", "side"), NODES.values(), ids=NODES.keys())
def test_nodes_are_told_by_station(
    marks: Landmarks, point: tuple[float, float, float], site: Code, side: Code | None
) -> None:
    assert site_of(marks, point, Refined.LYMPH_NODE) == (site, side)


def test_bones_are_told_apart(marks: Landmarks) -> None:
    assert site_of(marks, (0, 66, 240), Refined.BONE) == (SPINE, None)
    assert site_of(marks, (92, 20, 80), Refined.BONE) == (PELVIS_BONE, LEFT)
    assert site_of(marks, (-140, 20, 440), Refined.BONE) == (RIB, RIGHT)


def test_sides_are_told_but_not_in_the_middle(marks: Landmarks) -> None:
    assert site_of(marks, (80, 0, 440), Refined.SIDE) == (None, LEFT)
    assert site_of(marks, (-80, 0, 440), Refined.SIDE) == (None, RIGHT)
    assert site_of(marks, (3, 0, 440), Refined.SIDE) == (None, None)


def lesion(point: tuple[float, float, float]) -> LesionFinding:
    return LesionFinding(
        name="Lymph node 1",
        type=NODE,
        site=NODE,
        laterality=None,
        score=0.9,
        marks=(),
        box_lps_mm=np.array([np.array(point) - 5, np.array(point) + 5]),
    )


def test_a_site_is_told_more_exactly_only_where_it_was_asked_for() -> None:
    there = lesion((0, 0, 440))
    asked, not_asked = with_sites((there, there), (Refined.LYMPH_NODE, None), body())
    assert asked.site == MEDIASTINAL_NODE
    assert not_asked.site == NODE


TURNED: dict[str, Callable[[Volume], Volume]] = {
    "slices from head to feet": lambda one: _flipped(one, 0),
    "rows from the back": lambda one: _flipped(one, 1),
    "columns from the left": lambda one: _flipped(one, 2),
}


def _flipped(volume: Volume, axis: int) -> Volume:
    affine = volume.grid.affine_lps_mm.copy()
    affine[:3, 3] += affine[:3, axis] * (volume.grid.shape[axis] - 1)
    affine[:3, axis] *= -1
    grid = replace(volume.grid, affine_lps_mm=affine)
    return replace(volume, array=np.flip(volume.array, axis).copy(), grid=grid)


@pytest.mark.parametrize("turn", TURNED.values(), ids=TURNED.keys())
def test_the_direction_of_the_slices_changes_nothing(turn: Callable[[Volume], Volume]) -> None:
    turned = landmarks_of(turn(body()))
    for point, site, side in NODES.values():
        assert site_of(turned, point, Refined.LYMPH_NODE) == (site, side)


def test_a_volume_of_air_decides_nothing() -> None:
    empty = body()
    empty = replace(empty, array=np.full_like(empty.array, -1000))
    assert site_of(landmarks_of(empty), (0, 0, 100), Refined.LYMPH_NODE) == (None, None)
