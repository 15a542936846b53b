"""Frames of enhanced multi-frame images, by their functional groups (PS3.3 C.7.6.16)."""

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.pipeline.elements import items, numbers, text, value_of
from dicomnode.pipeline.frames import Frame, ImageFile, Rescale
from dicomnode.pipeline.headers import plane_from, read_rescale


def frames_of(ds: Dataset, image: ImageFile) -> list[Frame]:
    """Every frame with its own plane and rescale, in file order.

    Raises:
        UnsupportedImage: functional groups are missing or incomplete.
    """
    shared = (items(ds, "SharedFunctionalGroupsSequence") or [Dataset()])[0]
    per_frame = items(ds, "PerFrameFunctionalGroupsSequence")
    if len(per_frame) != image.layout.frames:
        raise UnsupportedImage(
            f"a multi-frame image of {image.layout.frames} frames describes {len(per_frame)}"
        )
    return list(_frames(ds, image, shared, per_frame))


def group_of(ds: Dataset, keyword: str, index: int) -> Dataset:
    """The functional group of frame `index` (from 0); empty where the image has no such group."""
    per_frame = items(ds, "PerFrameFunctionalGroupsSequence")
    own = per_frame[index] if index < len(per_frame) else Dataset()
    shared = (items(ds, "SharedFunctionalGroupsSequence") or [Dataset()])[0]
    return _group(keyword, own, shared)


def _frames(
    ds: Dataset, image: ImageFile, shared: Dataset, per_frame: Iterable[Dataset]
) -> Iterator[Frame]:
    frame_of_reference = text(ds, "FrameOfReferenceUID") or None
    localizer = "LOCALIZER" in (value_of(ds, "ImageType") or ())
    for index, own in enumerate(per_frame):
        measures = _group("PixelMeasuresSequence", own, shared)
        content = _group("FrameContentSequence", own, shared)
        label = f"frame {index + 1}"
        yield Frame(
            image=image,
            index=index,
            plane=plane_from(
                label=label,
                position=numbers(
                    _group("PlanePositionSequence", own, shared), "ImagePositionPatient", 3
                ),
                orientation=numbers(
                    _group("PlaneOrientationSequence", own, shared), "ImageOrientationPatient", 6
                ),
                spacing=numbers(measures, "PixelSpacing", 2),
                thickness=numbers(measures, "SpacingBetweenSlices", 1)
                or numbers(measures, "SliceThickness", 1),
                localizer=localizer,
                phase="/".join(
                    text(content, keyword)
                    for keyword in ("StackID", "TemporalPositionIndex", "FrameAcquisitionNumber")
                ),
            ),
            frame_of_reference_uid=frame_of_reference,
            rescale=_rescale(ds, own, shared),
        )


def _rescale(ds: Dataset, own: Dataset, shared: Dataset) -> Rescale:
    group = _group("PixelValueTransformationSequence", own, shared)
    return read_rescale(group if "RescaleSlope" in group else ds)


def _group(keyword: str, own: Dataset, shared: Dataset) -> Dataset:
    """A functional group's one item: the frame's own goes before the shared one."""
    for place in (own, shared):
        found = items(place, keyword)
        if found:
            return found[0]
    return Dataset()
