"""Which pixel spacing of a radiograph holds (PS3.3 10.7.1.3)."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.pipeline.detector import read_pixel_size

A, B = [0.2, 0.2], [0.15, 0.15]


@pytest.mark.parametrize(
    ("attributes", "spacing", "calibrated", "warning"),
    [
        ({}, (1.0, 1.0), False, "in pixels"),
        ({"PixelSpacing": [0, 0]}, (1.0, 1.0), False, "in pixels"),
        ({"PixelAspectRatio": [2, 1]}, (2.0, 1.0), False, "width of a column"),
        ({"ImagerPixelSpacing": A}, (0.2, 0.2), True, "that of the detector"),
        ({"PixelSpacing": A, "ImagerPixelSpacing": A}, (0.2, 0.2), True, "that of the detector"),
        ({"PixelSpacing": B, "ImagerPixelSpacing": A}, (0.15, 0.15), True, "differs from Imager"),
        ({"PixelSpacing": B}, (0.15, 0.15), True, "does not say whether"),
        (
            {"PixelSpacing": B, "ImagerPixelSpacing": A, "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.15, 0.15),
            True,
            "calibrated (FIDUCIAL)",
        ),
        (
            {"PixelSpacing": A, "ImagerPixelSpacing": A, "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.2, 0.2),
            True,
            "calibrated (GEOMETRY)",
        ),
        (
            {"ImagerPixelSpacing": A, "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.16, 0.16),
            True,
            "divided by EstimatedRadiographicMagnificationFactor 1.25",
        ),
        (
            {"ImagerPixelSpacing": A, "EstimatedRadiographicMagnificationFactor": 0},
            (0.2, 0.2),
            True,
            "that of the detector",
        ),
        ({"NominalScannedPixelSpacing": A}, (0.2, 0.2), True, "scanned film"),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), True, "does not say"),
    ],
)
def test_the_right_spacing_is_chosen_and_said(
    attributes: dict[str, object], spacing: tuple[float, float], calibrated: bool, warning: str
) -> None:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    size = read_pixel_size(ds)
    assert size.spacing == pytest.approx(spacing)
    assert size.calibrated is calibrated
    (said,) = size.warnings
    assert warning in said
