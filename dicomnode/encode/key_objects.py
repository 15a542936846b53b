"""Findings -> a key object selection (PS3.3 A.35.4, PS3.16 TID 2010): which images to look at."""

from collections.abc import Sequence

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset

from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import Finding
from dicomnode.domain.results import ResultKind
from dicomnode.encode.concepts import OF_INTEREST, concept
from dicomnode.encode.heading import finish, heading_of
from dicomnode.encode.key_images import flagged_slices
from dicomnode.encode.origin import Origin
from dicomnode.encode.report import device_observer
from dicomnode.encode.wording import RESEARCH_USE, title_of


def build_key_objects(findings: Sequence[Finding], origin: Origin) -> Dataset | None:
    """A selection of the images on which `findings` are to be looked at; None if there are none.

    Raises:
        EncodeError: highdicom cannot refer to this source.
    """
    slices = sorted(flagged_slices(findings, len(origin.volume.frames)))
    if not slices:
        return None
    heading = heading_of(ResultKind.KOS, origin)
    images = _images(origin, slices)
    try:
        content = KeyObjectSelection(
            document_title=concept(OF_INTEREST),
            referenced_objects=images,
            observer_device_context=device_observer(origin.identity),
            description=f"{RESEARCH_USE}. Images with findings of {title_of(origin)}.",
        )
        ko = KeyObjectSelectionDocument(
            evidence=images,
            content=content,
            series_instance_uid=origin.uids.series(ResultKind.KOS),
            series_number=heading.series_number,
            sop_instance_uid=origin.uids.instance(ResultKind.KOS),
            instance_number=1,
            manufacturer=origin.identity.manufacturer[:64],
            manufacturer_model_name=origin.identity.name[:64],
            software_versions=heading.software_versions[0],
            device_serial_number=heading.device_serial_number,
        )
    except (ValueError, TypeError, AttributeError, KeyError) as exc:
        reason = type(exc).__name__
        raise EncodeError(f"no key objects could be selected of this source: {reason}") from exc
    _name_frames(ko, origin, slices)
    finish(ko, origin.source.patient, heading)
    return ko


def _images(origin: Origin, slices: Sequence[int]) -> list[Dataset]:
    """One a file, since a file may hold several of the slices."""
    images = [origin.source.images[index] for index in slices]
    return list({str(image.SOPInstanceUID): image for image in images}.values())


def _name_frames(ko: Dataset, origin: Origin, slices: Sequence[int]) -> None:
    """Of a multi-frame image only the frames that show something."""
    numbers: dict[str, list[int]] = {}
    for index in slices:
        number = origin.source.frame_numbers[index]
        if number is not None:
            uid = str(origin.source.images[index].SOPInstanceUID)
            numbers.setdefault(uid, []).append(number)
    for item in ko.ContentSequence:
        if item.ValueType == "IMAGE":
            (referred,) = item.ReferencedSOPSequence
            if found := numbers.get(str(referred.ReferencedSOPInstanceUID)):
                referred.ReferencedFrameNumber = found
