"""How the embedded PACS matches queries (PS3.4 C.2.2.2)."""

from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicomnode.domain.results import ResultKind
from dicomnode.testing.pacs_index import StoredInstance, find_matches, index_file, matches
from dicomnode.testing.results import stand_in_result
from dicomnode.testing.studies import StudyIdentity


@pytest.fixture
def held(tmp_path: Path) -> list[StoredInstance]:
    """Two studies; the first has a SEG series of two and an SR series of one."""
    first, second = StudyIdentity(seed="1"), StudyIdentity(seed="2", patient_name="Other^One")
    written = [
        stand_in_result(tmp_path, first, number=1),
        stand_in_result(tmp_path, first, number=2),
        stand_in_result(tmp_path, first, kind=ResultKind.SR),
        stand_in_result(tmp_path, second),
    ]
    return [index_file(encoded.path) for encoded in written]


def _query(level: str, **keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def test_a_study_is_found_once_with_its_counts(held: list[StoredInstance]) -> None:
    query = _query(
        "STUDY",
        StudyInstanceUID=held[0].study_uid,
        NumberOfStudyRelatedInstances="",
        NumberOfStudyRelatedSeries="",
        ModalitiesInStudy="",
    )
    (answer,) = find_matches(query, held)
    assert answer.NumberOfStudyRelatedInstances == 3
    assert answer.NumberOfStudyRelatedSeries == 2
    assert list(answer.ModalitiesInStudy) == ["SEG", "SR"]


def test_an_instance_is_found_by_its_uid_alone(held: list[StoredInstance]) -> None:
    (answer,) = find_matches(_query("IMAGE", SOPInstanceUID=held[1].sop_instance_uid), held)
    assert answer.SOPInstanceUID == held[1].sop_instance_uid


def test_series_of_a_study_are_found_with_their_counts(held: list[StoredInstance]) -> None:
    query = _query(
        "SERIES",
        StudyInstanceUID=held[0].study_uid,
        Modality="",
        NumberOfSeriesRelatedInstances="",
    )
    counts = {a.Modality: a.NumberOfSeriesRelatedInstances for a in find_matches(query, held)}
    assert counts == {"SEG": 2, "SR": 1}


def test_an_unknown_uid_finds_nothing_unless_keys_are_ignored(held: list[StoredInstance]) -> None:
    query = _query("IMAGE", SOPInstanceUID="1.2.3")
    assert find_matches(query, held) == []
    assert len(find_matches(query, held, ignore_keys=True)) == 4


def test_a_level_that_does_not_exist_is_refused(held: list[StoredInstance]) -> None:
    with pytest.raises(ValueError, match="no such level"):
        find_matches(_query("FRAME"), held)


@pytest.mark.parametrize(
    ("vr", "wanted", "actual", "fits"),
    [
        ("LO", "", "anything", True),
        ("LO", "A*", "Abc", True),
        ("LO", "A*", "abc", False),
        ("LO", "A?c", "Abc", True),
        ("LO", "A.c", "Abc", False),
        ("PN", "test*", "Test^Phantom", True),
        ("UI", ["1.2", "1.3"], "1.3", True),
        ("UI", "1.2", "1.20", False),
        ("DA", "20240101-20240131", "20240131", True),
        ("DA", "20240101-", "20231231", False),
        ("DA", "-20240101", "20231231", True),
        ("DA", "20240101-", "", False),
    ],
)
def test_keys_match_by_their_kind(
    vr: str, wanted: str | list[str], actual: str, fits: bool
) -> None:
    keyword = {"LO": 0x00100020, "PN": 0x00100010, "UI": 0x0020000D, "DA": 0x00080020}[vr]
    assert matches(DataElement(keyword, vr, wanted), actual) is fits
