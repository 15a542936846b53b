"""Searches over what the node holds, on both databases: the same question, the same answer."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from dicomnode.domain.catalogue import Between, Condition, Level, Like, OneOf, Search
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.instances import InstanceHeader
from dicomnode.store.catalogue import find_instances, find_series, find_studies, studies_of
from dicomnode.store.database import Database
from dicomnode.store.holdings import held
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from tests.contract.store_scenes import NOON, STUDY, finished_job, land, uids

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

PATIENTS: Mapping[str, Mapping[str, str]] = {
    "1": {"PatientName": "Smith^John", "PatientID": "P1", "StudyDate": "20230101"},
    "2": {"PatientName": "SMITHERS^Ann", "PatientID": "p1", "StudyDate": "20240131"},
    "3": {"PatientName": "Müller^Jörg", "PatientID": "P_2", "StudyDate": "20240201"},
    "4": {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientID": "PX2"},
    "5": {"PatientName": "Hong^Gildong=洪^吉洞=홍^길동", "StudyDate": "20240301"},
}
MODALITIES = {"1": "CT", "2": "MR", "3": "CT", "4": "DX", "5": "CT"}


@pytest.fixture
def filled(database: Database) -> Database:
    """Five studies of one series of two images each: 1.2.S.1.N."""
    every = [f"1.2.{study}.1.{number}" for study in PATIENTS for number in (2, 1)]
    land(database, every)
    indexed = [
        Indexed(landed=one, header=_header(one.sop_instance_uid))
        for one in landed_instances(database, 100)
    ]
    index_instances(database, indexed, [], NOON)
    return database


def _header(uid: str) -> InstanceHeader:
    _, _, study, _, number = uid.split(".")
    values = {"StudyDate": "", "StudyTime": "101530", **PATIENTS[study]}
    return InstanceHeader(
        sop_instance_uid=InstanceUid(uid),
        study_uid=StudyUid(f"1.2.{study}"),
        series_uid=SeriesUid(f"1.2.{study}.1"),
        modality=MODALITIES[study],
        frames=1,
        study_values={
            **{keyword: (text,) if text else () for keyword, text in values.items()},
            "ReferringPhysicianName": ("House^Gregory",),
        },
        series_values={
            "SeriesNumber": (f"{int(study) * 10}",),
            "InstanceNumber": (number,),
            "Rows": ("512",),
            "Columns": ("256",),
            "BitsAllocated": ("16",),
        },
    )


def found(database: Database, **conditions: Condition) -> list[str]:
    search = Search(level=Level.STUDY, conditions=conditions, limit=100)
    return sorted(study.study_uid[-1] for study in find_studies(database, search))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "12345"),
        ({"PatientName": Like(pattern="smith*")}, "12"),
        ({"PatientName": Like(pattern="SMITH^*")}, "1"),
        ({"PatientName": Like(pattern="*^J?hn")}, "1"),
        ({"PatientName": Like(pattern="MÜLLER*")}, "3"),
        ({"PatientName": OneOf(values=("smith^john",))}, "1"),
        ({"PatientName": OneOf(values=("smith",))}, ""),
        ({"PatientName": OneOf(values=("Yamada^Tarou",))}, "4"),
        ({"PatientName": OneOf(values=("山田^太郎",))}, "4"),
        ({"PatientName": Like(pattern="やまだ*")}, "4"),
        ({"PatientName": Like(pattern="홍*")}, "5"),
        ({"PatientName": Like(pattern="*太*")}, "4"),
        ({"PatientID": OneOf(values=("P1",))}, "1"),
        ({"PatientID": Like(pattern="P*")}, "134"),
        ({"PatientID": Like(pattern="P_*")}, "3"),
        ({"PatientID": Like(pattern="P%*")}, ""),
        ({"PatientID": Like(pattern="[Pp]*")}, ""),
        ({"PatientID": Like(pattern="*2")}, "34"),
        ({"StudyDate": Between(first="20240101", last="20240201")}, "23"),
        ({"StudyDate": Between(first="", last="20230101")}, "1"),
        ({"StudyDate": Between(first="20240201", last="")}, "35"),
        ({"StudyTime": Between(first="10", last="109999")}, "12345"),
        ({"StudyTime": Between(first="11", last="")}, ""),
        ({"ModalitiesInStudy": OneOf(values=("MR", "DX"))}, "24"),
        ({"ModalitiesInStudy": Like(pattern="?R")}, "2"),
        ({"StudyInstanceUID": OneOf(values=("1.2.1", "1.2.5", "1.2.9"))}, "15"),
        ({"ReferringPhysicianName": Like(pattern="house*")}, "12345"),
        (
            {
                "PatientName": Like(pattern="s*"),
                "StudyDate": Between(first="20240101", last="20241231"),
            },
            "2",
        ),
    ],
)
def test_studies_are_found_by(
    filled: Database, conditions: dict[str, Condition], expected: str
) -> None:
    assert "".join(found(filled, **conditions)) == expected


def test_the_latest_study_comes_first_and_pages_follow_one_another(filled: Database) -> None:
    pages = [
        find_studies(filled, Search(level=Level.STUDY, limit=2, offset=offset))
        for offset in (0, 2, 4)
    ]
    dates = [study.header["StudyDate"] for page in pages for study in page]
    assert dates == [("20240301",), ("20240201",), ("20240131",), ("20230101",), ()]


def test_a_study_counts_its_series_and_instances(filled: Database) -> None:
    study = studies_of(filled, [StudyUid("1.2.3")])[StudyUid("1.2.3")]
    assert (study.series, study.instances, study.modalities) == (1, 2, ("CT",))


def test_series_of_any_study_are_found_by_their_own_and_their_studys_values(
    filled: Database,
) -> None:
    def numbers(**conditions: Condition) -> list[int | None]:
        search = Search(level=Level.SERIES, conditions=conditions, limit=100)
        return [series.number for series in find_series(filled, search)]

    assert numbers(Modality=OneOf(values=("CT",))) == [10, 30, 50]
    assert numbers(
        Modality=OneOf(values=("CT",)), StudyDate=Between(first="20240101", last="")
    ) == [30, 50]
    assert numbers(SeriesNumber=OneOf(values=("20",))) == [20]
    assert numbers(StudyInstanceUID=OneOf(values=("1.2.4",))) == [40]
    assert numbers(ModalitiesInStudy=OneOf(values=("MR",))) == [20]


def test_instances_come_by_number_with_what_an_image_list_shows(filled: Database) -> None:
    conditions = {"SeriesInstanceUID": OneOf(values=("1.2.2.1",))}
    instances = find_instances(
        filled, Search(level=Level.INSTANCE, conditions=conditions, limit=10)
    )
    assert [one.number for one in instances] == [1, 2]
    first = instances[0]
    assert (first.rows, first.columns, first.bits_allocated, first.frames) == (512, 256, 16, 1)


def test_instances_are_found_by_values_of_every_level(filled: Database) -> None:
    conditions: dict[str, Condition] = {
        "InstanceNumber": OneOf(values=("2",)),
        "Modality": OneOf(values=("CT",)),
        "PatientName": Like(pattern="smith*"),
    }
    search = Search(level=Level.INSTANCE, conditions=conditions, limit=10)
    assert [one.sop_instance_uid for one in find_instances(filled, search)] == ["1.2.1.1.2"]
    other = replace(search, conditions={"SOPClassUID": OneOf(values=("1.2.3",))})
    assert find_instances(filled, other) == ()


def test_the_nodes_own_results_are_part_of_their_study(database: Database) -> None:
    finished_job(database)
    (study,) = find_studies(database, Search(level=Level.STUDY, limit=9))
    assert (study.series, study.instances) == (3, 5)
    assert study.modalities == ("CT", "SEG", "SR")
    assert found(database, ModalitiesInStudy=OneOf(values=("SEG",))) == ["1"]
    of_study = {"StudyInstanceUID": OneOf(values=(STUDY,))}
    series = find_series(database, Search(level=Level.SERIES, conditions=of_study, limit=9))
    assert sorted((one.modality, one.instances) for one in series) == [
        ("CT", 3),
        ("SEG", 1),
        ("SR", 1),
    ]
    instances = find_instances(database, Search(level=Level.INSTANCE, conditions=of_study, limit=9))
    assert len(instances) == 5
    assert len(held(database, STUDY)) == 5


def test_an_instance_is_held_only_where_it_belongs(filled: Database) -> None:
    study, series, uid = StudyUid("1.2.1"), SeriesUid("1.2.1.1"), InstanceUid("1.2.1.1.1")
    (one,) = held(filled, study, series, uid)
    assert one.path.is_file()
    assert held(filled, study, SeriesUid("1.2.2.1"), uid) == ()
    assert held(filled, StudyUid("1.2.2"), series, uid) == ()
    assert [one.sop_instance_uid for one in held(filled, study)] == uids("1.2.1.1", [1, 2])
