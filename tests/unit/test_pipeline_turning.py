"""Radiographs that are stored turned or mirrored are read upright, and findings placed back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.codes import Code
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Mark,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.scoring import upright_of
from dicomnode.pipeline.radiograph import read_radiograph
from dicomnode.pipeline.turning import turn_of
from dicomnode.testing.studies import StudyIdentity, radiograph

CODE = Code(value="1", scheme="SCT", meaning="one")
LETTERS = {"L": (0, 1), "R": (0, -1), "F": (1, 1), "H": (1, -1)}
"""Letter -> axis of the upright image (0: along its rows) and direction."""
LYING = [
    (row, column) for row in "LRFH" for column in "LRFH" if LETTERS[row][0] != LETTERS[column][0]
]


@pytest.fixture
def upright(tmp_path: Path) -> Volume:
    """3 rows, 5 columns, each pixel another value, rows further apart than columns."""
    ds = radiograph(
        StudyIdentity(seed="turning"),
        np.arange(15, dtype=np.uint16).reshape(3, 5) * 100,
        imager_spacing_mm=(0.3, 0.2),
    )
    ds.save_as(tmp_path / "upright.dcm", enforce_file_format=True)
    return read_radiograph(tmp_path / "upright.dcm")


def stored_as(upright: Volume, row: str, column: str) -> Volume:
    """The same image as a file with that PatientOrientation holds it."""
    (axis, along_row), (_, along_column) = LETTERS[row], LETTERS[column]
    array = upright.array[0] if axis == 0 else upright.array[0].T
    array = array[::along_column, ::along_row][np.newaxis]
    spacing = upright.grid.spacing_mm[1:] if axis == 0 else upright.grid.spacing_mm[:0:-1]
    affine = upright.grid.affine_lps_mm.copy()
    affine[1, 1], affine[0, 2] = spacing
    grid = replace(upright.grid, shape=array.shape, affine_lps_mm=affine)
    return replace(upright, array=array, grid=grid, orientation=(row, column))


@pytest.mark.parametrize(("row", "column"), LYING)
def test_an_image_is_read_as_it_is_looked_at(upright: Volume, row: str, column: str) -> None:
    turn = turn_of((row, column))
    assert (turn is None) is ((row, column) == ("L", "F"))
    if turn is not None:
        seen = turn.upright(stored_as(upright, row, column))
        np.testing.assert_array_equal(seen.array, upright.array)
        np.testing.assert_allclose(seen.grid.affine_lps_mm, upright.grid.affine_lps_mm)
        assert seen.grid.shape == upright.grid.shape


@pytest.mark.parametrize(("row", "column"), [lying for lying in LYING if lying != ("L", "F")])
def test_findings_lie_on_the_stored_image(upright: Volume, row: str, column: str) -> None:
    """A mask is where its pixel is stored, and a mark in the middle of that pixel too."""
    turn = turn_of((row, column))
    assert turn is not None
    stored = stored_as(upright, row, column)
    for y, x in ((0, 0), (2, 1), (1, 4)):
        mask = np.zeros(upright.array.shape, dtype=np.bool_)
        mask[0, y, x] = True
        mark = Mark(slice_index=0, points=np.array([[x + 0.5, y + 0.5]]))
        segment, drawn, likely, said = turn.findings_back(
            (
                SegmentFinding(
                    name="it", category=CODE, type=CODE, laterality=None, color=(0, 0, 0), mask=mask
                ),
                MeasurementFinding(
                    name="it", finding=CODE, site=None, measurements=(), marks=(mark,)
                ),
                ClassFinding(
                    name="it", finding=CODE, probability=0.5, operating_point=0.1, marks=(mark,)
                ),
                CaptionFinding(name="it", text="right lung"),
            ),
            stored.grid.shape[1:],
        )
        assert isinstance(segment, SegmentFinding)
        assert stored.array[segment.mask].tolist() == [upright.array[0, y, x]]
        for finding in (drawn, likely):
            assert isinstance(finding, MeasurementFinding | ClassFinding)
            ((column_at, row_at),) = finding.marks[0].points.tolist()
            assert (column_at % 1, row_at % 1) == (0.5, 0.5)
            assert stored.array[0, int(row_at), int(column_at)] == upright.array[0, y, x]
        assert said == CaptionFinding(name="it", text="right lung")


@pytest.mark.parametrize(("row", "column"), [lying for lying in LYING if lying != ("L", "F")])
def test_a_box_is_seen_around_the_same_pixels(upright: Volume, row: str, column: str) -> None:
    turn = turn_of((row, column))
    assert turn is not None
    stored = stored_as(upright, row, column)
    ((y, x),) = np.argwhere(stored.array[0] == upright.array[0, 2, 3]).tolist()
    box = (float(x), float(y), x + 1.0, y + 1.0)
    assert turn.box_seen(box, stored.grid.shape[1:]) == pytest.approx((3, 2, 4, 3))


def test_a_file_that_is_learned_from_is_read_upright(upright: Volume, tmp_path: Path) -> None:
    pixels = np.arange(15, dtype=np.uint16).reshape(3, 5)[:, ::-1] * 100
    ds = radiograph(StudyIdentity(seed="turning"), np.ascontiguousarray(pixels))
    ds.PatientOrientation = ["R", "F"]
    ds.save_as(tmp_path / "mirrored.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(upright_of(tmp_path / "mirrored.dcm").array, upright.array)
    np.testing.assert_array_equal(upright_of(tmp_path / "upright.dcm").array, upright.array)


@pytest.mark.parametrize(
    "orientation", [None, ("A", "F"), ("P", "F"), ("L", "P"), ("L", "R"), ("", ""), ("X", "Y")]
)
def test_what_does_not_lie_like_a_frontal_view_is_left_alone(
    orientation: tuple[str, str] | None,
) -> None:
    assert turn_of(orientation) is None


def test_oblique_letters_count_by_their_first() -> None:
    assert turn_of(("RA", "FP")) == turn_of(("R", "F"))
