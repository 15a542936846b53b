"""A series of files to a `Volume`.

CT values are Hounsfield units of at least -1024: what scanners write outside the scan circle
(PixelPaddingValue, -2000, -2048, -3024 ...) becomes -1024, so that it cannot upset what an
algorithm computes from intensities. All other modalities keep their rescaled values.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicomnode.domain.errors import DicomNodeError, DuplicateSlices, UnsupportedImage, VolumeError
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.pipeline.elements import text
from dicomnode.pipeline.frames import Frame, ImageFile
from dicomnode.pipeline.geometry import Arrangement, arrange
from dicomnode.pipeline.headers import (
    RADIOGRAPH_KEYWORDS,
    SLICE_KEYWORDS,
    read_header,
    read_plane,
    read_rescale,
)
from dicomnode.pipeline.multiframe import frames_of
from dicomnode.pipeline.pixels import read_stored, rescale_into
from dicomnode.pipeline.radiograph import is_radiograph, read_radiograph_among

Progress = Callable[[float, str], None]

LOWEST_HOUNSFIELD = -1024.0
_HEADERS_SHARE = 0.3
_HOUNSFIELD_TYPES = (None, "HU", "HU_MOD", "US")


def no_progress(_fraction: float, _stage: str) -> None:
    """Tell nobody."""


def read_series(paths: Sequence[Path], *, progress: Progress = no_progress) -> Volume:
    """The one volume or radiograph that the files of a series hold.

    Raises:
        VolumeError: the most exact one; the message names slices a person can find.
    """
    if not paths:
        raise UnsupportedImage("the series has no images")
    first = read_header(paths[0], RADIOGRAPH_KEYWORDS)
    if is_radiograph(*first):
        return read_radiograph_among(first, paths[1:])
    return read_volume(paths, progress=progress)


def read_volume(paths: Sequence[Path], *, progress: Progress = no_progress) -> Volume:
    """CT, MR and the like, one file a slice or enhanced multi-frame, as a regular grid.

    `progress` is called with a fraction from 0 to 1 and a stage. Needs memory for one float32
    array of the volume and one slice.

    Raises:
        VolumeError: the most exact one; the message names slices a person can find.
    """
    frames = _read_frames(paths, progress)
    warnings = _check_one_series(frames)
    arrangement = arrange([frame.plane for frame in frames])
    ordered = [frames[index] for index in arrangement.order]
    _check_sizes(ordered)
    array = _read_values(ordered, progress)
    first = ordered[0]
    return Volume(
        study_uid=first.image.study_uid,
        series_uid=first.image.series_uid,
        modality=first.image.modality,
        array=array,
        grid=_grid(ordered, arrangement),
        frames=tuple(frame.image.source(frame.index) for frame in ordered),
        warnings=(*warnings, *arrangement.warnings),
    )


def _grid(ordered: Sequence[Frame], arrangement: Arrangement) -> Grid:
    layout = ordered[0].image.layout
    return Grid(
        affine_lps_mm=arrangement.affine_lps_mm,
        shape=(len(ordered), layout.rows, layout.columns),
        frame_of_reference_uid=ordered[0].frame_of_reference_uid,
    )


def _read_frames(paths: Sequence[Path], progress: Progress) -> list[Frame]:
    frames: list[Frame] = []
    for done, path in enumerate(paths):
        progress(_HEADERS_SHARE * done / len(paths), "headers")
        frames.extend(_frames_in(path))
    if not frames:
        raise UnsupportedImage("the series has no images")
    return frames


def _frames_in(path: Path) -> list[Frame]:
    ds, image = read_header(path, SLICE_KEYWORDS)
    try:
        return _placed(ds, image)
    except DicomNodeError:
        raise
    except Exception as exc:  # a damaged value makes pydicom raise almost anything
        raise UnsupportedImage(
            f"{image.label}: where it lies cannot be read ({type(exc).__name__})"
        ) from exc


def _placed(ds: Dataset, image: ImageFile) -> list[Frame]:
    if "PerFrameFunctionalGroupsSequence" in ds:
        return frames_of(ds, image)
    if image.layout.frames > 1:
        raise UnsupportedImage(
            f"{image.label} has {image.layout.frames} frames that do not say where they lie"
        )
    plane = read_plane(ds, image.label)
    frame_of_reference = text(ds, "FrameOfReferenceUID") or None
    return [
        Frame(
            image=image,
            index=0,
            plane=plane,
            frame_of_reference_uid=frame_of_reference,
            rescale=read_rescale(ds),
        )
    ]


def _check_one_series(frames: Sequence[Frame]) -> tuple[str, ...]:
    """Refuse what cannot be one volume; return what a reader should know."""
    first = frames[0].image
    if len({frame.image.series_uid for frame in frames}) > 1:
        raise VolumeError("the images belong to more than one series")
    if len({frame.frame_of_reference_uid for frame in frames}) > 1:
        raise VolumeError(
            "the images have different FrameOfReferenceUIDs, so their positions cannot be compared"
        )
    _check_one_patient(frames)
    if len({(frame.image.sop_instance_uid, frame.index) for frame in frames}) < len(frames):
        raise DuplicateSlices("one image was given twice (same SOPInstanceUID)")
    return _check_units(frames) if first.modality == "CT" else ()


def _check_one_patient(frames: Sequence[Frame]) -> None:
    """A result is filed under one patient, so its images must not be of two."""
    stated = [frame for frame in frames if frame.image.patient_id]
    if len({frame.image.patient_id for frame in stated}) < 2:
        return
    first = stated[0]
    other = next(one for one in stated if one.image.patient_id != first.image.patient_id)
    raise VolumeError(
        f"{other.plane.label} states another PatientID than {first.plane.label}: images of two "
        "patients, or of one whose ID was corrected on the way; put it right at the sender, and "
        "send the images as a new series"
    )


def _check_units(frames: Sequence[Frame]) -> tuple[str, ...]:
    """A CT has to be in Hounsfield units."""
    for frame in frames:
        if not frame.rescale.stated:
            raise UnsupportedImage(
                f"{frame.plane.label}: no RescaleSlope and RescaleIntercept, "
                "so Hounsfield units are unknown"
            )
        if frame.rescale.kind not in _HOUNSFIELD_TYPES:
            raise UnsupportedImage(
                f"{frame.plane.label}: values are {frame.rescale.kind}, not Hounsfield units"
            )
    kinds = {frame.rescale.kind for frame in frames} - {None, "HU"}
    return tuple(f"RescaleType is {kind}, taken as HU" for kind in sorted(map(str, kinds)))


def _check_sizes(ordered: Sequence[Frame]) -> None:
    first = ordered[0].image
    size = first.layout.rows, first.layout.columns
    for frame in ordered:
        if (frame.image.layout.rows, frame.image.layout.columns) != size:
            raise VolumeError(
                f"{frame.plane.label} has {frame.image.layout.rows} x "
                f"{frame.image.layout.columns} pixels, {ordered[0].plane.label} "
                f"{size[0]} x {size[1]}"
            )


def _read_values(ordered: Sequence[Frame], progress: Progress) -> npt.NDArray[np.float32]:
    """All frames in units, (slice, row, column); each file is read once, from front to back."""
    layout = ordered[0].image.layout
    array = np.empty((len(ordered), layout.rows, layout.columns), dtype=np.float32)
    slots_of: dict[Path, list[int]] = {}
    for slot, frame in enumerate(ordered):
        slots_of.setdefault(frame.image.path, []).append(slot)
    done = 0
    for slots in slots_of.values():
        slots.sort(key=lambda slot: ordered[slot].index)
        image = ordered[slots[0]].image
        stored_frames = read_stored(image, [ordered[slot].index for slot in slots])
        for slot, stored in zip(slots, stored_frames, strict=True):
            progress(_HEADERS_SHARE + (1 - _HEADERS_SHARE) * done / len(ordered), "pixels")
            rescale_into(array[slot], stored, ordered[slot].rescale)
            if image.modality == "CT":
                np.maximum(array[slot], LOWEST_HOUNSFIELD, out=array[slot])
            done += 1
    progress(1.0, "pixels")
    array.flags.writeable = False
    return array
