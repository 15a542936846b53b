"""A secondary capture shows each finding in its colour and place, or is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicomnode.domain.codes import LUNG, RIGHT, Code
from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import (
    ClassFinding,
    Finding,
    LesionFinding,
    Mark,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.results import ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.burned_in import masks_on
from dicomnode.encode.capture import MOST_FRAMES
from dicomnode.encode.capture_gate import check_capture
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.key_images import key_slices
from dicomnode.encode.mark_grid import cut_of, tiles_of
from dicomnode.encode.results import encode_results
from dicomnode.encode.windows import window_of
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import PHANTOM_ALGORITHM, heart_with_ratio, lungs
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from dicomnode.testing.volumes import written_volume

DERIVATION = Derivation(
    job_key="capture",
    revision=1,
    made_at=datetime(2024, 1, 31, 12, 30, tzinfo=UTC),
    software_versions=("dicomnode 0.1.0",),
)
KINDS = frozenset({ResultKind.SECONDARY_CAPTURE})


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    folder = tmp_path / "ct"
    folder.mkdir()
    return written_volume(ct_series(StudyIdentity(seed="capture")), folder)


@pytest.fixture
def dx(tmp_path: Path) -> Volume:
    folder = tmp_path / "dx"
    folder.mkdir()
    return written_volume([radiograph(StudyIdentity(seed="capture dx"))], folder)


def capture_of(findings: tuple[Finding, ...], volume: Volume, out: Path) -> Path:
    (made,) = (
        each.path
        for each in encode_results(
            findings,
            volume,
            identity=PHANTOM_ALGORITHM,
            derivation=DERIVATION,
            out=out,
            settings=OutputSettings(),
            kinds=KINDS,
        )
        if each.kind is ResultKind.SECONDARY_CAPTURE
    )
    return made


def nodule(volume: Volume, index: int = 9, name: str = "Nodule 1") -> LesionFinding:
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[index, 20:26, 30:36] = True
    line = Mark(slice_index=index, points=np.array([[30.0, 23.0], [36.0, 23.0]]))
    return LesionFinding(
        name=name,
        type=Code("27925004", "SCT", "Nodule"),
        site=LUNG,
        laterality=RIGHT,
        score=0.9,
        marks=(line,),
        mask=mask,
    )


def colored(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    values = picture.astype(int)
    return np.asarray(values.max(axis=-1) - values.min(axis=-1) > 2)


def test_colour_covers_exactly_the_mask_of_a_radiograph(dx: Volume, tmp_path: Path) -> None:
    heart, _ = heart_with_ratio(dx)
    assert isinstance(heart, SegmentFinding)
    ds = dcmread(capture_of((heart,), dx, tmp_path))
    assert ds.SOPClassUID == SecondaryCaptureImageStorage
    _, rows, columns = dx.grid.shape
    image = ds.pixel_array[:rows, :columns]
    assert np.array_equal(colored(image), heart.mask[0])
    # What was not marked is the image as it was, but for the side letters.
    grey = np.rint(dx.array[0] * 255)
    assert (image[..., 0] == grey)[~heart.mask[0]].mean() > 0.97


def test_a_ct_has_a_frame_for_each_key_slice_named_with_its_image(
    ct: Volume, tmp_path: Path
) -> None:
    findings: tuple[Finding, ...] = (*lungs(ct), nodule(ct, 3), nodule(ct, 12, "Nodule 2"))
    ds = dcmread(capture_of(findings, ct, tmp_path))
    shown = sorted(key_slices(findings))
    assert ds.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    # The first shows both lesions, cut out.
    assert ds.NumberOfFrames == len(shown) + 1 >= 4
    assert [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence] == [
        ct.frames[index].sop_instance_uid for index in shown
    ]
    assert list(ds.PatientOrientation) == ["L", "P"]
    _, rows, columns = ct.grid.shape
    for frame, index in zip(ds.pixel_array[1:], shown, strict=True):
        expected = np.zeros((rows, columns), dtype=bool)
        for mask, _ in masks_on(findings, index):
            expected |= mask
        assert np.array_equal(colored(frame[:rows, :columns]), expected)


def test_the_first_frame_shows_a_tile_of_each_lesion_as_its_own_frame_does(
    ct: Volume, tmp_path: Path
) -> None:
    findings = (nodule(ct, 3), nodule(ct, 12, "Nodule 2"))
    path = capture_of(findings, ct, tmp_path)
    grid, first, second = dcmread(path).pixel_array
    tiles = tiles_of(findings, ct.grid.shape[1:], grid.shape[1])
    assert [tile.slice_index for tile in tiles] == [3, 12]
    for tile, frame in zip(tiles, (first, second), strict=True):
        at = grid[tile.row : tile.row + tile.side, tile.column : tile.column + tile.side]
        assert np.array_equal(at, cut_of(frame, tile))
        # The mask is 6 x 6 pixels, and the line ends on one beside it.
        assert 36 <= colored(at).sum() <= 37
    assert not tiles_of(findings[:1], ct.grid.shape[1:], grid.shape[1])


def test_a_tile_that_is_not_what_its_frame_shows_is_refused(ct: Volume, tmp_path: Path) -> None:
    findings = (nodule(ct, 3), nodule(ct, 12, "Nodule 2"))
    path = capture_of(findings, ct, tmp_path)
    ds = dcmread(path)
    pixels = ds.pixel_array.copy()
    tile = tiles_of(findings, ct.grid.shape[1:], pixels.shape[2])[1]
    at = (slice(tile.row, tile.row + tile.side), slice(tile.column, tile.column + tile.side))
    pixels[0][at] = np.roll(cut_of(pixels[2], tile), 2, axis=1)
    ds.PixelData = pixels.tobytes()
    ds.save_as(path)
    with pytest.raises(GeometryMismatch, match="tile of 'Nodule 2'"):
        check_capture(path, findings, ct)


def test_a_solid_nodule_is_shown_in_the_lung_window(ct: Volume) -> None:
    lesion = nodule(ct)
    array = np.full(ct.grid.shape, -850.0, np.float32)
    assert lesion.mask is not None
    array[lesion.mask] = 40.0
    assert window_of(replace(ct, array=array), (lesion,)) == (-1400.0, 200.0)
    array[:] = 40.0
    assert window_of(replace(ct, array=array), (lesion,)) == (-160.0, 240.0)


def test_organs_are_shown_on_their_largest_slice_and_lesions_where_they_are_drawn(
    ct: Volume,
) -> None:
    lung = lungs(ct)[0]
    mask = lung.mask.copy()
    mask[:, :40] = False
    mask[7] = lung.mask[7]
    assert key_slices((replace(lung, mask=mask), nodule(ct, 12))) == (7, 12)
    assert key_slices(()) == ()


def test_a_capture_without_a_finding_shows_the_middle_image(ct: Volume, tmp_path: Path) -> None:
    ds = dcmread(capture_of((), ct, tmp_path))
    (source,) = ds.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == ct.frames[10].sop_instance_uid
    _, rows, columns = ct.grid.shape
    assert not colored(ds.pixel_array[:rows, :columns]).any()


def test_more_slices_than_fit_are_left_out_by_the_order_of_the_findings(tmp_path: Path) -> None:
    geometry = SeriesGeometry(slices=MOST_FRAMES + 3)
    volume = written_volume(ct_series(StudyIdentity(seed="many"), geometry), tmp_path)
    many = tuple(
        nodule(volume, index, f"Nodule {index}") for index in reversed(range(geometry.slices))
    )
    ds = dcmread(capture_of(many, volume, tmp_path / "out"))
    # And one with the tiles of the first twelve.
    assert ds.NumberOfFrames == MOST_FRAMES + 1
    first = ds.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert first == volume.frames[3].sop_instance_uid


def test_a_grey_segment_is_drawn_in_a_colour_that_can_be_seen(ct: Volume, tmp_path: Path) -> None:
    grey = replace(lungs(ct)[0], color=(190, 190, 190))
    ds = dcmread(capture_of((grey,), ct, tmp_path))
    assert colored(ds.pixel_array[:64, :48]).any()


def test_a_rerun_gives_the_same_bytes(ct: Volume, tmp_path: Path) -> None:
    first = capture_of(lungs(ct), ct, tmp_path / "first")
    second = capture_of(lungs(ct), ct, tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()


def test_a_capture_names_the_node_and_the_patient(ct: Volume, tmp_path: Path) -> None:
    ds = dcmread(capture_of(lungs(ct), ct, tmp_path))
    assert (ds.PatientID, ds.AccessionNumber) == ("PHANTOM-1", "A1")
    assert ds.SeriesDescription == "Phantom chest SC, series 1"
    assert ds.SeriesNumber == 9003
    assert "dicomnode" in [item.Manufacturer for item in ds.ContributingEquipmentSequence]
    # The source does not say that its pixels name nobody.
    assert ds.BurnedInAnnotation == "YES"


def mirrored(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    picture = frames[:, :64, :48]
    changed = frames.copy()
    changed[:, :64, :48] = picture[:, :, ::-1]
    return changed


def shifted(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    changed = frames.copy()
    changed[:, :64, :48] = np.roll(frames[:, :64, :48], 1, axis=2)
    return changed


def swapped_channels(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(frames[..., ::-1])


def swapped_frames(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(frames[::-1])


@pytest.mark.parametrize("fault", [mirrored, shifted, swapped_channels, swapped_frames])
def test_a_picture_that_shows_it_elsewhere_is_refused(
    ct: Volume,
    tmp_path: Path,
    fault: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]],
) -> None:
    findings: tuple[Finding, ...] = (*lungs(ct), nodule(ct, 3), nodule(ct, 12, "Nodule 2"))
    path = capture_of(findings, ct, tmp_path)
    ds = dcmread(path)
    ds.PixelData = fault(ds.pixel_array).tobytes()
    ds.save_as(path)
    with pytest.raises(GeometryMismatch, match="slice"):
        check_capture(path, findings, ct)


def test_a_line_drawn_elsewhere_is_refused(dx: Volume, tmp_path: Path) -> None:
    heart, ratio = heart_with_ratio(dx)
    path = capture_of((heart, ratio), dx, tmp_path)
    check_capture(path, (heart, ratio), dx)
    assert isinstance(ratio, MeasurementFinding)
    lower = np.array([0.0, 20.0])
    moved = replace(
        ratio, marks=tuple(replace(one, points=one.points + lower) for one in ratio.marks)
    )
    with pytest.raises(GeometryMismatch, match="slice 0"):
        check_capture(path, (heart, moved), dx)


def test_a_line_that_another_covers_is_no_fault(dx: Volume, tmp_path: Path) -> None:
    box = np.array([[40.0, 60.0], [90.0, 60.0], [90.0, 120.0], [40.0, 120.0], [40.0, 60.0]])
    judged = tuple(
        ClassFinding(
            name=name,
            finding=Code("8186001", "SCT", "Cardiomegaly"),
            probability=0.9,
            operating_point=0.5,
            marks=(Mark(slice_index=0, points=box), Mark(slice_index=0, points=box)),
        )
        for name in ("one", "other")
    )
    path = capture_of(judged, dx, tmp_path)
    assert colored(dcmread(path).pixel_array[:320, :256]).any()


def test_a_picture_of_another_image_is_refused(ct: Volume, tmp_path: Path) -> None:
    path = capture_of(lungs(ct), ct, tmp_path)
    ds: Dataset = dcmread(path)
    ds.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    ds.save_as(path)
    with pytest.raises(GeometryMismatch, match="not read"):
        check_capture(path, lungs(ct), ct)
