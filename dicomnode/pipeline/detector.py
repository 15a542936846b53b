"""Pixel spacing of projection radiographs: which of four attributes holds (PS3.3 10.7.1.3)."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from dicomnode.pipeline.elements import numbers, text

_AT_DETECTOR = (
    "pixel spacing is that of the detector (ImagerPixelSpacing): "
    "structures measure larger than they are"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSize:
    """Distance between rows, then between columns."""

    spacing: tuple[float, float]
    """Millimetres; if not `calibrated`, pixels (of the width of a column)."""
    calibrated: bool
    warnings: tuple[str, ...] = ()


def read_pixel_size(ds: Dataset) -> PixelSize:
    """The best known pixel size, with a warning for everything a measurement depends on.

    PixelSpacing that was calibrated (it says how, or differs from the detector's) goes first;
    else the detector's own spacing, divided by the estimated magnification where that is given;
    else the spacing a film was scanned at; else pixels.
    """
    spacing = _positive(ds, "PixelSpacing")
    imager = _positive(ds, "ImagerPixelSpacing")
    if spacing is not None and (
        imager is None
        or text(ds, "PixelSpacingCalibrationType")
        or not np.allclose(spacing, imager, rtol=1e-4)
    ):
        warning = _calibration(ds, has_imager=imager is not None)
        return PixelSize(spacing=spacing, calibrated=True, warnings=(warning,))
    if imager is not None:
        return _at_detector(ds, imager)
    scanned = _positive(ds, "NominalScannedPixelSpacing")
    if scanned is not None:
        return PixelSize(
            spacing=scanned,
            calibrated=True,
            warnings=("pixel spacing is that of the scanned film (NominalScannedPixelSpacing)",),
        )
    return _in_pixels(ds)


def _positive(ds: Dataset, keyword: str) -> tuple[float, float] | None:
    values = numbers(ds, keyword, 2)
    # Archives do hold 0.000\0.000.
    return (values[0], values[1]) if values is not None and min(values) > 0 else None


def _calibration(ds: Dataset, *, has_imager: bool) -> str:
    kind = text(ds, "PixelSpacingCalibrationType")
    if kind in ("GEOMETRY", "FIDUCIAL"):
        return f"pixel spacing was calibrated ({kind}); it holds at one depth only"
    if has_imager:
        return "PixelSpacing differs from ImagerPixelSpacing without saying how it was calibrated"
    return "PixelSpacing does not say whether it holds at the detector or in the patient"


def _at_detector(ds: Dataset, imager: tuple[float, float]) -> PixelSize:
    factor = numbers(ds, "EstimatedRadiographicMagnificationFactor", 1)
    if factor is None or factor[0] < 1:
        return PixelSize(spacing=imager, calibrated=True, warnings=(_AT_DETECTOR,))
    divided = (
        "pixel spacing of the detector was divided by "
        f"EstimatedRadiographicMagnificationFactor {factor[0]:g}"
    )
    return PixelSize(
        spacing=(imager[0] / factor[0], imager[1] / factor[0]),
        calibrated=True,
        warnings=(divided,),
    )


def _in_pixels(ds: Dataset) -> PixelSize:
    aspect = _positive(ds, "PixelAspectRatio")
    if aspect is None or aspect[0] == aspect[1]:
        return PixelSize(
            spacing=(1.0, 1.0),
            calibrated=False,
            warnings=("no pixel spacing: lengths are in pixels",),
        )
    return PixelSize(
        spacing=(aspect[0] / aspect[1], 1.0),
        calibrated=False,
        warnings=("no pixel spacing: lengths are in pixels of the width of a column",),
    )
