"""Any grey image as a person would see it: the header's own window, 0 (black) to 1 (white)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.pipeline.display import Stretch, Values, Voi, Window, read_voi
from dicomnode.pipeline.elements import items, text
from dicomnode.pipeline.frames import ImageFile, Rescale
from dicomnode.pipeline.headers import RADIOGRAPH_KEYWORDS, read_header, read_rescale
from dicomnode.pipeline.multiframe import group_of
from dicomnode.pipeline.pixels import Stored, read_stored, rescale_into

DISPLAY_KEYWORDS = (
    *RADIOGRAPH_KEYWORDS,
    "BodyPartExamined",
    "BurnedInAnnotation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness:
    """One frame as it is shown."""

    values: Values
    """(rows, columns) float32, 0 black to 1 white."""
    warnings: tuple[str, ...]


def read_display_header(path: Path) -> tuple[Dataset, ImageFile]:
    """What `brightness` needs of a file; no pixel is read.

    Raises:
        UnsupportedImage: no DICOM file, no pixels, colour.
    """
    return read_header(path, DISPLAY_KEYWORDS)


def brightness(
    ds: Dataset, image: ImageFile, index: int = 0, *, window: Window | None = None
) -> Brightness:
    """Frame `index` (from 0) through Modality LUT and VOI LUT or window (PS3.4 N.2).

    `window` takes the place of the header's. Without either it is stretched from its darkest to
    its brightest value. MONOCHROME1 is inverted (PS3.3 C.7.6.3.1.2), so that bone is bright on
    every radiograph.

    Raises:
        UnsupportedImage: there is no such frame, or its pixels cannot be decoded.
    """
    layout = image.layout
    if not 0 <= index < layout.frames:
        raise UnsupportedImage(f"{image.label} has {layout.frames} frames, not {index + 1}")
    rescale = _rescale(ds, index)
    (stored,) = read_stored(image, [index])
    values = np.empty((layout.rows, layout.columns), dtype=np.float32)
    rescale_into(values, stored, rescale)
    voi: Voi | None = window
    warnings: tuple[str, ...] = ()
    if voi is None:
        voi, warnings = _voi(ds, index, signed_values=layout.signed or rescale.intercept < 0)
    if voi is None:
        shown = _stretch(values, stored, ds).apply(values)
        warnings = (*warnings, "no window in the header: stretched from darkest to brightest")
    else:
        shown = voi.apply(values)
    if layout.photometric == "MONOCHROME1":
        shown = 1 - shown
    if text(ds, "PresentationIntentType") == "FOR PROCESSING":
        warnings = (*warnings, "the image is meant for processing, not for presentation")
    return Brightness(values=np.ascontiguousarray(shown, dtype=np.float32), warnings=warnings)


def _rescale(ds: Dataset, index: int) -> Rescale:
    group = group_of(ds, "PixelValueTransformationSequence", index)
    return read_rescale(group if "RescaleSlope" in group else ds)


def _voi(ds: Dataset, index: int, *, signed_values: bool) -> tuple[Voi | None, tuple[str, ...]]:
    group = group_of(ds, "FrameVOILUTSequence", index)
    stated = "WindowCenter" in group or bool(items(group, "VOILUTSequence"))
    return read_voi(group if stated else ds, signed_values=signed_values)


def _stretch(values: Values, stored: Stored, ds: Dataset) -> Stretch:
    """Over all values but the padding (PS3.3 C.7.5.1.1.2)."""
    # US or SS: pydicom tells them apart by the data set, so not by `value_of`.
    padding = ds.get("PixelPaddingValue")
    shown = values
    if padding is not None:
        ends = sorted((int(padding), int(ds.get("PixelPaddingRangeLimit", padding))))
        inside = (stored < ends[0]) | (stored > ends[1])
        shown = values[inside] if inside.any() else values
    return Stretch(lowest=float(shown.min()), highest=float(shown.max()))
