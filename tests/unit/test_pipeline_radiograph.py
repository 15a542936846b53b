"""Radiographs become one slice from 0 (dark) to 1."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.radiograph import read_radiograph
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.studies import StudyIdentity, radiograph

IDENTITY = StudyIdentity(seed="radiograph")


def ramp() -> npt.NDArray[np.uint16]:
    """Each pixel another value, over all 12 bits."""
    return np.linspace(0, 4095, 30 * 40).astype(np.uint16).reshape(30, 40)


def saved(folder: Path, ds: Dataset, name: str = "image.dcm") -> Path:
    path = folder / name
    ds.save_as(path, enforce_file_format=True)
    return path


def read(folder: Path, ds: Dataset) -> Volume:
    return read_series([saved(folder, ds)])


def test_brightness_follows_the_window(tmp_path: Path) -> None:
    volume = read(tmp_path, radiograph(IDENTITY, ramp()))
    # PS3.3 C.11.2.1.2.1 with center 2048, width 4096.
    np.testing.assert_allclose(volume.array[0], ramp() / 4095, atol=1e-6)
    assert volume.array.shape == volume.grid.shape == (1, 30, 40)
    assert volume.grid.spacing_mm == pytest.approx((1.0, 0.2, 0.2))
    assert volume.grid.frame_of_reference_uid is None
    assert volume.grid.calibrated
    assert volume.frames[0].frame_number is None


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    plain = read(tmp_path, radiograph(IDENTITY, ramp()))
    inverted = read(tmp_path, radiograph(IDENTITY, ramp(), photometric="MONOCHROME1"))
    np.testing.assert_allclose(inverted.array, 1 - plain.array, atol=1e-6)


def test_grid_is_the_image_plane(tmp_path: Path) -> None:
    ds = radiograph(IDENTITY, ramp(), imager_spacing_mm=(0.3, 0.2))
    affine = read(tmp_path, ds).grid.affine_lps_mm
    np.testing.assert_allclose(affine @ [0, 10, 20, 1], [4.0, 3.0, 0.0, 1.0])
    assert np.linalg.det(affine) != 0


def test_without_spacing_lengths_are_in_pixels(tmp_path: Path) -> None:
    volume = read(tmp_path, radiograph(IDENTITY, ramp(), imager_spacing_mm=None))
    assert not volume.grid.calibrated
    assert volume.grid.spacing_mm == (1.0, 1.0, 1.0)
    assert "no pixel spacing: lengths are in pixels" in volume.warnings


def test_without_window_values_are_stretched_but_for_the_padding(tmp_path: Path) -> None:
    pixels = np.array([[0, 1000, 1500], [2000, 2000, 4095]], dtype=np.uint16)
    ds = radiograph(IDENTITY, pixels)
    del ds.WindowCenter
    del ds.WindowWidth
    ds.PixelPaddingValue = 0
    ds.PixelPaddingRangeLimit = 10
    pixels[0, 0] = 5
    volume = read(tmp_path, ds)
    np.testing.assert_allclose(volume.array[0, 0], [0, 0, 500 / 3095], atol=1e-6)
    assert volume.array.max() == 1
    assert "no window in the header: stretched from darkest to brightest" in volume.warnings


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    ds = radiograph(IDENTITY, ramp())
    ds.RescaleSlope, ds.RescaleIntercept = 2, -1000
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 1000, 2000, "LINEAR_EXACT"
    expected = np.clip((ramp() * 2.0 - 1000) / 2000, 0, 1)
    np.testing.assert_allclose(read(tmp_path, ds).array[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("orientation", "said"), [(["R", "F"], True), (["L", "F"], False), (None, False)]
)
def test_mirrored_frontal_image_is_said_to_be_one(
    tmp_path: Path, orientation: list[str] | None, said: bool
) -> None:
    ds = radiograph(IDENTITY, ramp())
    ds.PatientOrientation = orientation
    warnings = read(tmp_path, ds).warnings
    warning = "PatientOrientation is R\\F, not L\\F: the image is not stored as it is looked at"
    assert (warning in warnings) is said


@pytest.mark.parametrize(("view", "said"), [("LL", True), ("AP", False), ("", False)])
def test_an_image_that_its_header_calls_lateral_is_said_to_be_one(
    tmp_path: Path, view: str, said: bool
) -> None:
    ds = radiograph(IDENTITY, ramp())
    ds.ViewPosition = view
    warning = "ViewPosition is LL: by its header this is no frontal image"
    assert (warning in read(tmp_path, ds).warnings) is said


def test_image_for_processing_is_said_to_be_one(tmp_path: Path) -> None:
    ds = radiograph(IDENTITY, ramp())
    ds.PresentationIntentType = "FOR PROCESSING"
    warnings = read(tmp_path, ds).warnings
    assert "the image is meant for processing, not for presentation" in warnings


def two_views(folder: Path, first: str, second: str) -> list[Path]:
    paths = []
    for number, view in enumerate((first, second), start=1):
        ds = radiograph(IDENTITY, ramp() // number, view=view)
        ds.InstanceNumber = number
        ds.SOPInstanceUID = f"1.2.{number}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        paths.append(saved(folder, ds, f"{number}.dcm"))
    return paths


def test_frontal_image_is_chosen_beside_a_lateral_one(tmp_path: Path) -> None:
    volume = read_series(two_views(tmp_path, "LL", "PA"))
    assert volume.frames[0].sop_instance_uid == "1.2.2"
    assert "image 2 was read, the only frontal one of 2 in its series" in volume.warnings


def test_without_a_view_position_the_frontal_image_is_told_by_how_it_lies(tmp_path: Path) -> None:
    paths = two_views(tmp_path, "", "")
    for path, orientation in zip(paths, (["A", "F"], ["L", "F"]), strict=True):
        ds = dcmread(path)
        ds.PatientOrientation = orientation
        ds.save_as(path)
    assert read_series(paths).frames[0].sop_instance_uid == "1.2.2"


def test_two_frontal_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImage, match="2 radiographs in one series, 2 of them frontal"):
        read_series(two_views(tmp_path, "PA", "AP"))


def test_several_frames_are_refused(tmp_path: Path) -> None:
    ds = radiograph(IDENTITY, ramp())
    ds.NumberOfFrames = 2
    ds.PixelData += ds.PixelData
    with pytest.raises(UnsupportedImage, match="image 1 has 2 frames"):
        read_radiograph(saved(tmp_path, ds))
