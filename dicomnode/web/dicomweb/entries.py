"""What a search found, as DICOM JSON (PS3.18 10.6.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomnode.domain.catalogue import FoundInstance, FoundSeries, FoundStudy
from dicomnode.domain.instances import HeaderValues
from dicomnode.web.dicomweb.asking import Asked
from dicomnode.web.dicomweb.elements import JsonDataset, element, from_texts, tag_of

STUDY_FIELDS = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName"),
    *("PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDescription"),
)
SERIES_FIELDS = (
    *("SeriesDescription", "BodyPartExamined", "SeriesDate", "SeriesTime"),
    *("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """How found values are written for one request."""

    root: str
    """URL of the service, without a slash at the end."""
    asked: Asked

    def study(self, found: FoundStudy) -> JsonDataset:
        """A study with its counts."""
        return {
            **self._common(f"/studies/{found.study_uid}"),
            **self._fields(found.header, STUDY_FIELDS),
            **_text("StudyInstanceUID", found.study_uid),
            **_texts("ModalitiesInStudy", found.modalities),
            **_number("NumberOfStudyRelatedSeries", found.series),
            **_number("NumberOfStudyRelatedInstances", found.instances),
        }

    def series(self, found: FoundSeries, study: FoundStudy | None) -> JsonDataset:
        """A series; with its study's attributes if the search was for any study."""
        return {
            **(self.study(study) if study else {}),
            **self._common(f"/studies/{found.study_uid}/series/{found.series_uid}"),
            **self._fields(found.header, SERIES_FIELDS),
            **_text("Modality", found.modality),
            **_text("StudyInstanceUID", found.study_uid),
            **_text("SeriesInstanceUID", found.series_uid),
            **_number("SeriesNumber", found.number),
            **_number("NumberOfSeriesRelatedInstances", found.instances),
        }

    def instance(
        self, found: FoundInstance, series: FoundSeries | None, study: FoundStudy | None
    ) -> JsonDataset:
        """An instance; with the attributes of its series and study if those were not given."""
        frames = found.frames if (found.frames or 0) > 1 else None
        return {
            **(self.series(series, study) if series else {}),
            **self._common(
                f"/studies/{found.study_uid}/series/{found.series_uid}"
                f"/instances/{found.sop_instance_uid}"
            ),
            **_text("StudyInstanceUID", found.study_uid),
            **_text("SeriesInstanceUID", found.series_uid),
            **_text("SOPClassUID", found.sop_class_uid),
            **_text("SOPInstanceUID", found.sop_instance_uid),
            **_number("InstanceNumber", found.number),
            **_present("NumberOfFrames", frames),
            **_present("Rows", found.rows),
            **_present("Columns", found.columns),
            **_present("BitsAllocated", found.bits_allocated),
        }

    def _common(self, path: str) -> JsonDataset:
        return {
            **_text("SpecificCharacterSet", "ISO_IR 192"),
            **_text("InstanceAvailability", "ONLINE"),
            **_text("RetrieveURL", f"{self.root}{path}"),
        }

    def _fields(self, header: HeaderValues, usual: Sequence[str]) -> JsonDataset:
        """The usual fields, empty ones too; others where they are asked for and known."""
        wanted: Mapping[str, tuple[str, ...]] = {name: header.get(name, ()) for name in usual}
        more = {
            name: values
            for name, values in header.items()
            if self.asked.every_field or name in self.asked.fields
        }
        named = {**wanted, **more, **_timezone(header)}
        # Text is stored decoded, so the image's own character set is not that of the answer.
        named.pop("SpecificCharacterSet", None)
        return dict(from_texts(name, values) for name, values in named.items())


def _timezone(header: HeaderValues) -> Mapping[str, tuple[str, ...]]:
    found = header.get("TimezoneOffsetFromUTC")
    return {"TimezoneOffsetFromUTC": found} if found else {}


def _text(keyword: str, value: str) -> JsonDataset:
    return dict([from_texts(keyword, [value] if value else [])])


def _texts(keyword: str, values: Sequence[str]) -> JsonDataset:
    return dict([from_texts(keyword, values)])


def _number(keyword: str, value: int | None) -> JsonDataset:
    return {tag_of(keyword): element("IS", [] if value is None else [value])}


def _present(keyword: str, value: int | None) -> JsonDataset:
    """Nothing at all where there is no value."""
    return {} if value is None else dict([from_texts(keyword, [str(value)])])
