"""Real images, where the development data is at hand (DICOMNODE_DATA, or ../shared/data)."""

import os
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.pipeline.volume import read_series

DATA = Path(os.environ.get("DICOMNODE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

LOSSLESS = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)
LOSSY = {
    # Eight bits for 4000 HU, so a step is 24 HU.
    "1.2.840.10008.1.2.4.50": 60.0,
    "1.2.840.10008.1.2.4.51": 60.0,
    "1.2.840.10008.1.2.4.81": 10.0,
    "1.2.840.10008.1.2.4.91": 40.0,
}


def folder(name: str) -> Path:
    path = DATA / name
    if not path.is_dir():
        pytest.skip(f"{path} is not there (set DICOMNODE_DATA)")
    return path


def slice_in(uid: str) -> Path:
    (path,) = folder("dicom_syntaxes").glob(f"*_{uid}.dcm")
    return path


@pytest.mark.parametrize("uid", LOSSLESS)
def test_lossless_syntax_gives_the_same_units(uid: str) -> None:
    expected = read_series([slice_in("1.2.840.10008.1.2.1")]).array
    np.testing.assert_array_equal(read_series([slice_in(uid)]).array, expected)
    assert expected.min() == -1024


@pytest.mark.parametrize("uid", LOSSY)
def test_lossy_syntax_gives_nearly_the_same_units(uid: str) -> None:
    expected = read_series([slice_in("1.2.840.10008.1.2.1")]).array
    found = read_series([slice_in(uid)]).array
    assert np.abs(found - expected).mean() < 15
    assert np.percentile(np.abs(found - expected), 95) < LOSSY[uid]


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"])
def test_retired_twelve_bit_jpeg_is_refused_by_its_name(uid: str) -> None:
    with pytest.raises(UnsupportedImage, match=r"image 1: .* cannot be decoded \(JPEG .*Process"):
        read_series([slice_in(uid)])


def test_thinned_chest_ct_is_three_millimetres_apart_whatever_its_headers_say() -> None:
    volume = read_series(sorted(folder("ct/lidc_0314/dicom").glob("*.dcm")))
    assert volume.array.shape == (92, 512, 512)
    assert volume.grid.spacing_mm == pytest.approx((3.0, 0.78125, 0.78125))
    assert volume.array[46, 256, 60] > -1024
    assert -1024 <= volume.array.min() < -900


def test_tiny_chest_ct_agrees_with_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = read_series(sorted(folder("ct/cip_ct64/dicom").glob("*.dcm")))
    image = sitk.ReadImage(str(folder("ct/cip_ct64") / "ct-64.nrrd"))
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    for index in [(0, 0, 0), (78, 10, 20), (40, 63, 0)]:
        point = image.TransformContinuousIndexToPhysicalPoint([float(i) for i in index[::-1]])
        found = (volume.grid.affine_lps_mm @ [*index, 1])[:3]
        np.testing.assert_allclose(found, point, atol=0.05)


def test_pixels_outside_the_scan_circle_are_air() -> None:
    volume = read_series(sorted(folder("ct/crlm_1004").rglob("*.dcm")))
    assert volume.array.min() == -1024
    assert volume.grid.spacing_mm[0] == pytest.approx(5.0)


def radiograph(pattern: str) -> Path:
    (path,) = folder("dicom_cxr").glob(pattern)
    return path


def test_monochrome1_copy_of_a_radiograph_is_its_negative() -> None:
    original = read_series([radiograph("1.2.276*")])
    negative = read_series([radiograph("Fake_MONOHR1*")])
    np.testing.assert_allclose(negative.array, 1 - original.array, atol=1e-6)


@pytest.mark.parametrize(
    ("pattern", "calibrated"),
    [("1.2.276*", True), ("RG1_J2KI*", False), ("highdicom*", True), ("nih_gcp*", False)],
)
def test_radiographs_fill_zero_to_one(pattern: str, calibrated: bool) -> None:
    volume = read_series([radiograph(pattern)])
    assert volume.grid.calibrated is calibrated
    assert 0 <= volume.array.min() < 0.2
    assert 0.9 < volume.array.max() <= 1
    assert volume.grid.frame_of_reference_uid is None
