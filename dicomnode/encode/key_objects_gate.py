"""The gate for key objects: are the flagged images those on which something was found?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import Finding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.gate import slices_by_image
from dicomnode.encode.key_images import flagged_slices


def check_key_objects(path: Path, findings: Sequence[Finding], volume: Volume) -> None:
    """Read the key object selection at `path`; it must flag the key slices, no more and no less.

    Raises:
        GeometryMismatch: it does not, or its evidence lacks an image it flags.
    """
    ds = dcmread(path)
    known = slices_by_image(volume)
    flagged = sorted(known.get(image, -1) for image in _flagged(ds))
    wanted = sorted(flagged_slices(findings, len(volume.frames)))
    if flagged != wanted:
        raise GeometryMismatch(f"slices {flagged} are flagged, not {wanted}")
    evidence = {
        str(image.ReferencedSOPInstanceUID)
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    missing = {uid for uid, _ in _flagged(ds)} - evidence
    if missing:
        raise GeometryMismatch(f"{len(missing)} flagged images are no evidence of the document")


def _flagged(ds: Dataset) -> Iterator[tuple[str, int | None]]:
    for item in ds.ContentSequence:
        if item.ValueType != "IMAGE":
            continue
        (image,) = item.ReferencedSOPSequence
        uid, numbers = str(image.ReferencedSOPInstanceUID), image.get("ReferencedFrameNumber")
        if numbers is None:
            yield uid, None
        elif isinstance(numbers, int):
            yield uid, int(numbers)
        else:
            yield from ((uid, int(number)) for number in numbers)
