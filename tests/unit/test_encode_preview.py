"""The overlay shows each finding where it is, the right way round."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicomnode.domain.codes import ANATOMICAL_STRUCTURE, LEFT, LUNG, Code
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    LesionFinding,
    Mark,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.volumes import Volume
from dicomnode.encode.canvas import TEXT
from dicomnode.encode.legend import WIDTH
from dicomnode.encode.planes import AXIAL, Turn
from dicomnode.encode.preview import draw_overlay
from dicomnode.testing.findings import heart_with_ratio, lungs
from dicomnode.testing.studies import (
    SeriesGeometry,
    StudyIdentity,
    ct_series,
    forty_eight_orientations,
    radiograph,
)
from dicomnode.testing.volumes import written_volume

BLUE = (0, 0, 255)


def ct(folder: Path, **geometry: object) -> Volume:
    shape = SeriesGeometry(rows=12, columns=16, slices=9, spacing_mm=(3.0, 2.0, 1.0))
    changed = replace(shape, **geometry)  # type: ignore[arg-type]
    folder.mkdir(exist_ok=True)
    return written_volume(ct_series(StudyIdentity(seed="preview"), changed), folder)


def segment(mask: np.ndarray) -> SegmentFinding:
    return SegmentFinding(
        name="part",
        category=ANATOMICAL_STRUCTURE,
        type=LUNG,
        laterality=LEFT,
        color=BLUE,
        mask=mask,
    )


def blue_pixels(path: Path) -> np.ndarray:
    """(x, y) of saturated blue pixels."""
    red, _, blue = np.asarray(Image.open(path).convert("RGB")).astype(int).transpose(2, 0, 1)
    rows, columns = np.nonzero((blue > 180) & (red < 60))
    return np.stack([columns, rows], axis=1)


def patient_positions(volume: Volume) -> np.ndarray:
    """LPS coordinates of every voxel, (3, slices, rows, columns)."""
    index = np.indices(volume.grid.shape).reshape(3, -1)
    affine = volume.grid.affine_lps_mm
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *volume.grid.shape)


def test_pictures_are_turned_upright_from_all_48_orientations(tmp_path: Path) -> None:
    for number, (orientation, _) in enumerate(forty_eight_orientations()):
        volume = ct(tmp_path / str(number), orientation=orientation)
        turn = Turn.of(volume.grid)
        left, back, head = (turn.apply(axis) for axis in patient_positions(volume))
        assert (np.diff(head, axis=0) > 0).all()
        assert (np.diff(back, axis=1) > 0).all()
        assert (np.diff(left, axis=2) > 0).all()


def test_points_turn_with_their_voxels(tmp_path: Path) -> None:
    volume = ct(tmp_path, orientation=(0.0, -1.0, 0.0, -1.0, 0.0, 0.0))
    turn = Turn.of(volume.grid)
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[4, 3, 11] = True
    turned = turn.apply(mask)
    mark = Mark(slice_index=4, points=np.array([[11.5, 3.5]]))
    (across, down), *_ = AXIAL.points_of(mark, turn, volume.grid.shape)
    _, row, column = (int(axis[0]) for axis in np.nonzero(turned))
    assert across * turned.shape[2] == pytest.approx(column + 0.5)
    assert down * turned.shape[1] == pytest.approx(row + 0.5)


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1.0, 0), (-1.0, 0, 0, 0, -1.0, 0)])
def test_the_patients_left_is_on_the_right_of_an_axial_picture(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    volume = ct(tmp_path, orientation=orientation)
    left = patient_positions(volume)[0]
    path = draw_overlay(volume, [segment(left > np.median(left))], tmp_path / "overlay.png")
    main_width = 16 / 24 * 1000  # 16 mm across, 24 mm down, 1000 pixels high
    blue = blue_pixels(path)
    on_main = blue[blue[:, 0] < main_width - 5]
    assert on_main[:, 0].min() > 0.4 * main_width


def test_pictures_have_the_aspect_of_the_patient(tmp_path: Path) -> None:
    volume = ct(tmp_path)
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[:, 3:9, 2:14] = True  # 12 mm by 12 mm
    blue = blue_pixels(draw_overlay(volume, [segment(mask)], tmp_path / "overlay.png"))
    on_main = blue[blue[:, 0] < 16 / 24 * 1000]
    width, height = on_main.max(axis=0) - on_main.min(axis=0)
    assert width == pytest.approx(height, rel=0.03)


def test_lines_are_drawn_where_they_lie_on_a_radiograph(tmp_path: Path) -> None:
    pixels = np.zeros((200, 400), dtype=np.uint16)
    image = radiograph(StudyIdentity(seed="lines"), pixels, imager_spacing_mm=None)
    volume = written_volume([image], tmp_path)
    line = Mark(slice_index=0, points=np.array([[100.0, 50.0], [300.0, 50.0]]))
    lesion = LesionFinding(
        name="line", type=LUNG, site=None, laterality=None, score=1, marks=(line,), color=BLUE
    )
    blue = blue_pixels(draw_overlay(volume, [lesion], tmp_path / "overlay.png"))
    on_line = blue[np.abs(blue[:, 1] - 250) <= 3]
    assert on_line[:, 0].min() == pytest.approx(500, abs=6)
    assert on_line[:, 0].max() == pytest.approx(1500, abs=6)


def test_every_kind_of_finding_can_be_drawn(tmp_path: Path) -> None:
    volume = written_volume([radiograph(StudyIdentity(seed="all"))], tmp_path)
    judged = ClassFinding(
        name="cardiomegaly",
        finding=Code("8186001", "SCT", "Cardiomegaly"),
        probability=0.7,
        operating_point=0.5,
    )
    caption = CaptionFinding(name="caption", text="The heart is enlarged. " * 8)
    absent = segment(np.zeros(volume.grid.shape, dtype=bool))
    point = LesionFinding(
        name="point",
        type=LUNG,
        site=None,
        laterality=None,
        score=0.4,
        marks=(Mark(slice_index=0, points=np.array([[90.0, 80.0]])),),
    )
    findings = [*heart_with_ratio(volume), judged, caption, absent, point]
    path = draw_overlay(volume, findings, tmp_path / "all.png", title="Everything at once")
    with Image.open(path) as picture:
        assert picture.height >= 1000


def test_a_picture_without_a_finding_is_drawn(tmp_path: Path) -> None:
    path = draw_overlay(ct(tmp_path), [], tmp_path / "none.png")
    assert path.exists()


def test_a_long_list_goes_on_in_further_columns_and_loses_nothing(tmp_path: Path) -> None:
    volume = ct(tmp_path)
    some, many = (
        [CaptionFinding(name=f"caption {n}", text="In words.") for n in range(count)]
        for count in (1, 400)
    )
    (short, bright_short), (long, bright_long) = (
        text_in(draw_overlay(volume, found, tmp_path / f"{len(found)}.png"))
        for found in (some, many)
    )
    assert long[1] == short[1]
    assert (long[0] - short[0]) % WIDTH == 0
    one = text_in(draw_overlay(volume, some * 2, tmp_path / "two.png"))[1] - bright_short
    assert bright_long == bright_short + 399 * one


def text_in(path: Path) -> tuple[tuple[int, int], int]:
    """Size of a picture, and how many of its pixels are of the colour of text."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
        return picture.size, int((pixels == TEXT).all(axis=2).sum())


def test_segments_are_looked_at_rather_than_a_line_beside_them(tmp_path: Path) -> None:
    """Else an organ of a thousand slices would be shown where something small was measured."""
    volume = ct(tmp_path)
    beside = MeasurementFinding(
        name="beside",
        finding=LUNG,
        site=None,
        measurements=(),
        marks=(Mark(slice_index=8, points=np.array([[1.0, 1.0], [5.0, 5.0]])),),
    )
    plain = draw_overlay(volume, lungs(volume), tmp_path / "plain.png")
    both = draw_overlay(volume, [*lungs(volume), beside], tmp_path / "both.png")
    with Image.open(plain) as first, Image.open(both) as second:
        left = (0, 0, first.width - WIDTH, first.height)
        assert first.crop(left).tobytes() == second.crop(left).tobytes()


def test_the_same_findings_make_the_same_picture(tmp_path: Path) -> None:
    images = ct_series(StudyIdentity(seed="same"))
    volume = written_volume(images, tmp_path)
    first = draw_overlay(volume, lungs(volume), tmp_path / "first.png").read_bytes()
    assert first == draw_overlay(volume, lungs(volume), tmp_path / "second.png").read_bytes()
