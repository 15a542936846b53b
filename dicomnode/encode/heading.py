"""Series, equipment, dates and file meta information: what all results have in common."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicomnode import __version__
from dicomnode.domain.naming import Template
from dicomnode.domain.results import ResultKind
from dicomnode.encode.concepts import PROCESSING_EQUIPMENT, concept
from dicomnode.encode.derivation import IMPLEMENTATION_CLASS_UID
from dicomnode.encode.origin import Origin
from dicomnode.encode.sources import SourceSeries

MAKER = "dicomnode"
"""Manufacturer of the contributing equipment by which the node's own results are known again."""

LARGEST_IS = 2**31 - 1

_NUMBER_IN_REVISION = {
    ResultKind.SEG: 1,
    ResultKind.LABELMAP: 1,
    ResultKind.SR: 2,
    ResultKind.LABELMAP_REPORT: 2,
    ResultKind.SECONDARY_CAPTURE: 3,
    ResultKind.GSPS: 4,
    ResultKind.KOS: 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Series and equipment attributes of one object."""

    series_number: int
    series_description: str
    """64 characters at most."""
    software_versions: tuple[str, ...]
    device_serial_number: str
    institution: str
    made_at: datetime
    """In the time zone the source's own dates and times are in."""


def heading_of(kind: ResultKind, origin: Origin) -> Heading:
    """The heading of the object of this kind."""
    versions = (origin.identity.version, *origin.derivation.software_versions)
    return Heading(
        series_number=_series_number(kind, origin),
        series_description=_series_description(kind, origin),
        software_versions=tuple(version[:64] for version in versions),
        device_serial_number=origin.identity.model_digest[:16],
        institution=origin.settings.institution[:64],
        made_at=_in_zone_of(origin.source, origin.derivation.made_at),
    )


def _series_number(kind: ResultKind, origin: Origin) -> int:
    """Base + 1 is the first SEG, + 2 the first SR; each revision moves on by ten."""
    moved = 10 * (origin.derivation.revision - 1) + _NUMBER_IN_REVISION[kind]
    settings, source = origin.settings, origin.source.number or 0
    number = settings.series_number_base + settings.series_number_per_source * source + moved
    # Some archives number series by date and time: too far to multiply (VR IS, PS3.5 6.2).
    return number if number <= LARGEST_IS else settings.series_number_base + moved


def _series_description(kind: ResultKind, origin: Origin) -> str:
    """By default `<title> SEG, series 3, rev 2`: tells apart what lies side by side in a study."""
    identity, revision = origin.identity, origin.derivation.revision
    return Template(origin.settings.series_description).filled(
        {
            "title": identity.title,
            "kind": kind.shown,
            "version": identity.version,
            "algorithm": identity.name,
            "source_number": "" if origin.source.number is None else str(origin.source.number),
            "source_description": origin.source.description,
            "revision": str(revision) if revision > 1 else "",
        }
    )


def _in_zone_of(source: SourceSeries, moment: datetime) -> datetime:
    text = str(source.patient.get("TimezoneOffsetFromUTC", ""))
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return moment
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return moment.astimezone(timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes)))


def finish(ds: Dataset, patient: Dataset, heading: Heading) -> None:
    """Put in whom the object is of, and replace everything that came from the clock."""
    ds.update(patient)
    ds.InstanceCreationDate = ds.ContentDate = ds.SeriesDate = heading.made_at.strftime("%Y%m%d")
    ds.InstanceCreationTime = ds.ContentTime = ds.SeriesTime = heading.made_at.strftime("%H%M%S")
    ds.SoftwareVersions = list(heading.software_versions)
    ds.SeriesDescription = heading.series_description
    if heading.institution:
        ds.InstitutionName = heading.institution
    contributors = [*ds.get("ContributingEquipmentSequence", []), _node_equipment()]
    ds.ContributingEquipmentSequence = contributors
    for item in contributors:
        item.ContributionDateTime = heading.made_at.strftime("%Y%m%d%H%M%S%z")
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = f"DICOMNODE_{__version__}"[:16]


def _node_equipment() -> Dataset:
    """The node itself, whoever made the algorithm (PS3.3 C.12.1.1.5, CID 7005)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [concept(PROCESSING_EQUIPMENT)]
    item.Manufacturer = MAKER
    item.ManufacturerModelName = MAKER
    item.SoftwareVersions = __version__
    item.ContributionDescription = "Ran the algorithm and wrote this object"
    return item
