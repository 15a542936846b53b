"""From stored values to what is displayed, as the headers of some slices state it (PS3.4 N.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.volumes import SourceFrame, Volume
from dicomnode.encode.texts import items_of, numbers_of, text_of

_KEYWORDS = (
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GreyScale:
    """How one image's stored values become grey."""

    slope: float
    intercept: float
    rescale_type: str | None
    """None: the header has no rescale."""
    window: tuple[float, float] | None
    """Centre and width after the rescale, as the header has them; the first of several."""
    voi_lut: Dataset | None
    """The first item of VOILUTSequence."""
    is_inverted: bool
    """MONOCHROME1: low values are white."""


def grey_scales(volume: Volume, slices: Sequence[int]) -> list[GreyScale]:
    """That of each of `slices`; each file is read once, without pixels.

    Raises:
        EncodeError: a file is gone.
    """
    headers: dict[str, Dataset] = {}
    found = []
    for index in slices:
        frame = volume.frames[index]
        if frame.sop_instance_uid not in headers:
            headers[frame.sop_instance_uid] = _read(frame)
        found.append(_grey_scale(headers[frame.sop_instance_uid], frame, volume.modality))
    return found


def _read(frame: SourceFrame) -> Dataset:
    try:
        return dcmread(frame.path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
    except (OSError, InvalidDicomError) as exc:
        if isinstance(exc, OSError) and is_disk_fault(exc):
            raise disk_fault(exc, "a source image cannot be read") from exc
        raise EncodeError(f"source image {frame.sop_instance_uid} cannot be read again") from exc


def _grey_scale(ds: Dataset, frame: SourceFrame, modality: str) -> GreyScale:
    rescale = _group(ds, "PixelValueTransformationSequence", "RescaleSlope", frame)
    voi = _group(ds, "FrameVOILUTSequence", "WindowCenter", frame)
    slope, intercept = (
        numbers_of(rescale, keyword, 1) for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    stated = text_of(rescale, "RescaleType", ["ascii"]) or ("HU" if modality == "CT" else "US")
    tables = items_of(voi, "VOILUTSequence")
    return GreyScale(
        slope=float(slope[0]) if slope else 1.0,
        intercept=float(intercept[0]) if intercept else 0.0,
        rescale_type=stated if slope and intercept else None,
        window=_window(voi),
        voi_lut=tables[0] if tables else None,
        is_inverted=text_of(ds, "PhotometricInterpretation", ["ascii"]) == "MONOCHROME1",
    )


def _group(ds: Dataset, sequence: str, keyword: str, frame: SourceFrame) -> Dataset:
    """The frame's own functional group, the shared one, or else the top level."""
    number = frame.frame_number or 1
    for place in (
        *items_of(ds, "PerFrameFunctionalGroupsSequence")[number - 1 : number],
        *items_of(ds, "SharedFunctionalGroupsSequence"),
    ):
        for item in items_of(place, sequence):
            if keyword in item:
                return item
    return ds


def _window(ds: Dataset) -> tuple[float, float] | None:
    parts = [text_of(ds, keyword, ["ascii"]) for keyword in ("WindowCenter", "WindowWidth")]
    try:
        centre, width = (float((part or "").split("\\")[0]) for part in parts)
    except ValueError:
        return None
    return (centre, width) if width >= 1 else None
