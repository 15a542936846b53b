"""What an SEG or SR says of where it comes from: enough to know whether it corrects one of ours."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import InstanceUnreadable
from dicomnode.domain.judgements import Sign

LARGEST_SR = 16 * 1024 * 1024
MOST_ELEMENTS = 2_000_000
MEASUREMENT_TEMPLATE = "1500"
_TRACKING_UID = ("112040", "DCM")
_BY_HAND = frozenset({"MANUAL", "SEMIAUTOMATIC"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """By what objects are known to belong together."""

    sop_instance_uid: str
    is_segmentation: bool
    is_measured: bool
    """An SR of measurements (TID 1500); False for a person's text, and for SEG."""
    predecessors: frozenset[str]
    """SOP instances it says it takes the place of."""
    references: frozenset[str]
    """Every SOP instance it refers to, wherever."""
    tracking: frozenset[str]
    """Tracking UIDs of segments or measurement groups."""
    labels: frozenset[str]
    """Labels of its segments, in small letters."""
    drawn_labels: frozenset[str]
    """Those of them that a person drew or changed, as the object says."""
    source_series: frozenset[str]
    """Series it was made on."""
    made_with: str
    """Manufacturer and model, as stated."""


def read_marks(path: Path) -> Marks:
    """Read the file's header; pixel data are left alone.

    Raises:
        InstanceUnreadable: it cannot be read; names no value.
        DiskFault: the disk does not give it for now.
    """
    try:
        ds = dcmread(path, stop_before_pixels=True)
        return _marks(ds, size=path.stat().st_size)
    except InstanceUnreadable:
        raise
    except Exception as exc:  # peers write anything, and pydicom meets it as any error
        if isinstance(exc, OSError) and is_disk_fault(exc):
            raise disk_fault(exc, "an SEG or SR cannot be read") from exc
        raise InstanceUnreadable(f"not readable ({type(exc).__name__})") from exc


def _marks(ds: Dataset, *, size: int) -> Marks:
    is_segmentation = str(ds.Modality) == "SEG"
    if not is_segmentation and size > LARGEST_SR:
        raise InstanceUnreadable("an SR of more than 16 MB is not looked into")
    segments: Sequence[Dataset] = ds.get("SegmentSequence") or []
    references, tracking = _walked(ds)
    template = next(iter(ds.get("ContentTemplateSequence") or []), Dataset())
    made_with = (str(ds.get("Manufacturer", "")), str(ds.get("ManufacturerModelName", "")))
    return Marks(
        sop_instance_uid=str(ds.SOPInstanceUID),
        is_segmentation=is_segmentation,
        is_measured=str(template.get("TemplateIdentifier", "")) == MEASUREMENT_TEMPLATE,
        predecessors=frozenset(_predecessors(ds)),
        references=references,
        tracking=tracking | {str(one.TrackingUID) for one in segments if "TrackingUID" in one},
        labels=frozenset(_label(one) for one in segments),
        drawn_labels=frozenset(
            _label(one) for one in segments if one.get("SegmentAlgorithmType") in _BY_HAND
        ),
        source_series=frozenset(
            str(one.SeriesInstanceUID)
            for one in ds.get("ReferencedSeriesSequence") or []
            if "SeriesInstanceUID" in one
        ),
        made_with=" ".join(part for part in made_with if part)[:128],
    )


def _label(segment: Dataset) -> str:
    return str(segment.get("SegmentLabel", "")).strip().lower()


def _predecessors(ds: Dataset) -> Iterator[str]:
    for study in ds.get("PredecessorDocumentsSequence") or []:
        for series in study.get("ReferencedSeriesSequence") or []:
            for item in series.get("ReferencedSOPSequence") or []:
                yield str(item.ReferencedSOPInstanceUID)


def _walked(ds: Dataset) -> tuple[frozenset[str], frozenset[str]]:
    """Every SOP instance referred to, and every tracking UID of an SR's content."""
    references, tracking = set(), set()
    for count, element in enumerate(ds.iterall()):
        if count > MOST_ELEMENTS:
            raise InstanceUnreadable("its header is larger than that of any real object")
        if element.keyword == "ReferencedSOPInstanceUID":
            references.add(str(element.value))
        elif element.keyword == "ContentSequence":
            tracking |= {str(one.UID) for one in element.value if _is_tracking(one)}
    return frozenset(references), frozenset(tracking)


def _is_tracking(item: Dataset) -> bool:
    name = next(iter(item.get("ConceptNameCodeSequence") or []), None)
    if item.get("ValueType") != "UIDREF" or name is None or "UID" not in item:
        return False
    return (name.get("CodeValue"), name.get("CodingSchemeDesignator")) == _TRACKING_UID


def sign_of_correction(theirs: Marks, ours: Marks, inputs: frozenset[str]) -> Sign | None:
    """By what `theirs` is known to correct `ours`, a result made on the series `inputs`.

    None: it is about something else. A person's report may refer to a result as evidence; that
    alone does not correct it.
    """
    if ours.sop_instance_uid in theirs.predecessors:
        return Sign.PREDECESSOR
    if not theirs.is_segmentation and not theirs.is_measured:
        return None
    if ours.sop_instance_uid in theirs.references:
        return Sign.REFERENCE
    if theirs.tracking & ours.tracking:
        return Sign.TRACKING
    if theirs.drawn_labels & ours.labels and theirs.source_series & inputs:
        return Sign.SEGMENT
    return None


def strongest(signs: Mapping[str, Sign]) -> Mapping[str, Sign]:
    """Of the results an object may correct, those with the strongest sign."""
    if not signs:
        return {}
    order = list(Sign)
    best = min(signs.values(), key=order.index)
    return {uid: sign for uid, sign in signs.items() if sign is best}
