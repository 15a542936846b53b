"""A projection radiograph to a `Volume` of one slice.

The grid of a radiograph is its own plane, not the patient: x runs along rows, y along columns,
the origin is the centre of the first pixel, and there is no frame of reference.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.pipeline.brightness import brightness
from dicomnode.pipeline.detector import PixelSize, read_pixel_size
from dicomnode.pipeline.elements import text, value_of
from dicomnode.pipeline.frames import ImageFile
from dicomnode.pipeline.headers import RADIOGRAPH_KEYWORDS, read_header
from dicomnode.pipeline.turning import is_frontal, turn_of

_CROSS_SECTIONAL = ("CT", "MR", "PT", "NM")
_FRONTAL = ("PA", "AP")


Header = tuple[Dataset, ImageFile]
"""What `read_header` gives for `RADIOGRAPH_KEYWORDS`."""


def is_radiograph(ds: Dataset, image: ImageFile) -> bool:
    """True for a single image without a place in the patient, unless its modality needs one."""
    return (
        image.layout.frames == 1
        and "ImagePositionPatient" not in ds
        and image.modality not in _CROSS_SECTIONAL
    )


def read_radiograph(path: Path) -> Volume:
    """A radiograph (CR, DX, or a secondary capture of one) as 0 (dark, air) to 1.

    Values run through the Modality LUT or rescale, then the VOI LUT or window of the header, else
    from the darkest to the brightest value; MONOCHROME1 is inverted (PS3.3 C.7.6.3.1.2).

    Raises:
        UnsupportedImage: several frames, colour, or pixels that cannot be decoded.
    """
    ds, image = read_header(path, RADIOGRAPH_KEYWORDS)
    return _volume(ds, image, ())


def read_radiograph_among(first: Header, others: Sequence[Path]) -> Volume:
    """The only radiograph of a series, or the only frontal one.

    Frontal is what ViewPosition calls PA or AP; without one, what lies like a frontal view by
    PatientOrientation. `first` is the header of its first file, which was read to tell that it is
    a radiograph.

    Raises:
        UnsupportedImage: there is not exactly one, or it cannot be read.
    """
    headers = [first, *(read_header(path, RADIOGRAPH_KEYWORDS) for path in others)]
    if len(headers) == 1:
        return _volume(*headers[0], ())
    frontal = [header for header in headers if _is_frontal(header[0])]
    if len(frontal) != 1:
        raise UnsupportedImage(
            f"{len(headers)} radiographs in one series, {len(frontal)} of them frontal by "
            "ViewPosition (PA, AP) or PatientOrientation: which one is meant cannot be told"
        )
    ds, image = frontal[0]
    chosen = f"{image.label} was read, the only frontal one of {len(headers)} in its series"
    return _volume(ds, image, (chosen,))


def _volume(ds: Dataset, image: ImageFile, warnings: tuple[str, ...]) -> Volume:
    if image.layout.frames != 1:
        raise UnsupportedImage(f"{image.label} has {image.layout.frames} frames")
    size = read_pixel_size(ds)
    shown = brightness(ds, image)
    array = shown.values[np.newaxis]
    array.flags.writeable = False
    return Volume(
        study_uid=image.study_uid,
        series_uid=image.series_uid,
        modality=image.modality,
        array=array,
        grid=_grid(image, size),
        frames=(image.source(0),),
        warnings=(*warnings, *size.warnings, *shown.warnings, *_view_warnings(ds)),
        orientation=orientation_of(ds),
    )


def _grid(image: ImageFile, size: PixelSize) -> Grid:
    between_rows, between_columns = size.spacing
    affine = np.zeros((4, 4))
    affine[0, 2], affine[1, 1], affine[2, 0], affine[3, 3] = between_columns, between_rows, 1.0, 1.0
    return Grid(
        affine_lps_mm=affine,
        shape=(1, image.layout.rows, image.layout.columns),
        frame_of_reference_uid=None,
        calibrated=size.calibrated,
    )


def _is_frontal(ds: Dataset) -> bool:
    view, orientation = text(ds, "ViewPosition"), orientation_of(ds)
    return view in _FRONTAL if view else orientation is not None and is_frontal(orientation)


def orientation_of(ds: Dataset) -> tuple[str, str] | None:
    """PatientOrientation: where rows and columns lead in the patient; None if it does not say."""
    parts = tuple(str(part) for part in value_of(ds, "PatientOrientation") or ())
    return (parts[0], parts[1]) if len(parts) == 2 else None


def _view_warnings(ds: Dataset) -> tuple[str, ...]:
    """A frontal radiograph is shown with the patient's left at the viewer's right (L, F)."""
    view = text(ds, "ViewPosition")
    if view and view not in _FRONTAL:
        return (f"ViewPosition is {view[:16]}: by its header this is no frontal image",)
    orientation = orientation_of(ds)
    if turn_of(orientation) is None or orientation is None:
        return ()
    shown = "\\".join(part[:4] for part in orientation)
    return (f"PatientOrientation is {shown}, not L\\F: the image is not stored as it is looked at",)
