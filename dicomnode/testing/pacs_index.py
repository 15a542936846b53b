"""What the embedded PACS holds, and how it answers C-FIND: by the rules of PS3.4 C.2.2.2."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_LEVEL_KEY = {
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
_NOT_MATCHED = {"QueryRetrieveLevel", "SpecificCharacterSet", "ModalitiesInStudy"}
_COUNTS = {
    "NumberOfStudyRelatedInstances",
    "NumberOfStudyRelatedSeries",
    "NumberOfSeriesRelatedInstances",
}
_RANGE_VRS = {"DA", "TM", "DT"}
_LONGEST_VALUE_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One file of the PACS, with the part of its header that queries ask for."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    study_uid: str
    transfer_syntax_uid: str
    path: Path
    header: Dataset


def index_file(path: Path) -> StoredInstance:
    """Read the header of a PS3.10 file."""
    ds = dcmread(path, stop_before_pixels=True)
    header = Dataset()
    for element in ds:
        if element.VR != "SQ" and len(str(element.value)) <= _LONGEST_VALUE_BYTES:
            header.add(element)
    return StoredInstance(
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        series_uid=str(ds.SeriesInstanceUID),
        study_uid=str(ds.StudyInstanceUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        path=path,
        header=header,
    )


def find_matches(
    query: Dataset, instances: Sequence[StoredInstance], *, ignore_keys: bool = False
) -> list[Dataset]:
    """The C-FIND identifiers for `query`; one for each study, series or instance that matches.

    Raises:
        ValueError: the query has no QueryRetrieveLevel that this PACS knows.
    """
    level = str(query.get("QueryRetrieveLevel", ""))
    if level not in _LEVEL_KEY:
        raise ValueError(f"no such level: {level!r}")
    groups: dict[str, list[StoredInstance]] = {}
    for instance in instances:
        groups.setdefault(str(instance.header[_LEVEL_KEY[level]].value), []).append(instance)
    return [
        _identifier(query, level, members[0], instances)
        for members in groups.values()
        if ignore_keys or _fits(query, members[0].header)
    ]


def _fits(query: Dataset, header: Dataset) -> bool:
    return all(
        matches(element, str(header.get(element.keyword, "")))
        for element in query
        if element.keyword and element.keyword not in _NOT_MATCHED | _COUNTS and element.VR != "SQ"
    )


def matches(key: DataElement, actual: str) -> bool:
    """Does a stored value match one key? Empty, single value, UID list, wild card, range."""
    values = [str(value) for value in _as_list(key.value)]
    if not any(values):
        return True
    if key.VR == "UI":
        return actual in values
    wanted = values[0]
    if key.VR in _RANGE_VRS and "-" in wanted:
        first, _, last = wanted.partition("-")
        return bool(actual) and (first or actual) <= actual <= (last or actual)
    pattern = re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".")
    flags = re.IGNORECASE if key.VR == "PN" else 0
    return re.fullmatch(pattern, actual, flags) is not None


def _as_list(value: object) -> Sequence[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue) else [value]


def _identifier(
    query: Dataset, level: str, first: StoredInstance, instances: Sequence[StoredInstance]
) -> Dataset:
    answer = Dataset()
    answer.SpecificCharacterSet = first.header.get("SpecificCharacterSet", "ISO_IR 6")
    study = [known for known in instances if known.study_uid == first.study_uid]
    counts = {
        "NumberOfStudyRelatedInstances": len(study),
        "NumberOfStudyRelatedSeries": len({known.series_uid for known in study}),
        "NumberOfSeriesRelatedInstances": sum(k.series_uid == first.series_uid for k in study),
    }
    for element in query:
        if element.keyword in counts:
            setattr(answer, element.keyword, counts[element.keyword])
        elif element.keyword == "ModalitiesInStudy":
            answer.ModalitiesInStudy = sorted({str(k.header.get("Modality", "")) for k in study})
        elif element.tag in first.header:
            answer.add(first.header[element.tag])
        elif element.VR != "SQ":
            answer.add(DataElement(element.tag, element.VR, None))
    answer.QueryRetrieveLevel = level
    return answer
