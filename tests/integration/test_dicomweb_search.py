"""Searching the node by DICOMweb, as a client on the network does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from tests.integration.dicomweb_scenes import Archive, Service, app_over, serving

SMALL = SeriesGeometry(rows=8, columns=8, slices=3)
NAMES = {
    "ISO 2022 IR 100": ("Buc^Jérôme", ["", "ISO 2022 IR 100"]),
    "ISO_IR 100": ("Äneas^Rüdiger", "ISO_IR 100"),
    "ISO_IR 192": ("Wang^XiaoDong=王^小东", "ISO_IR 192"),
    "ISO 2022 IR 87": ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
    "ISO 2022 IR 149": ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
}


def named(character_set: str) -> Dataset:
    """A radiograph of somebody whose name is written in this character set."""
    name, specific = NAMES[character_set]
    ds = radiograph(StudyIdentity(seed=character_set, patient_id=character_set))
    ds.SpecificCharacterSet = specific
    ds.PatientName = name
    ds.PixelData = ds.PixelData[: 8 * 8 * 2]
    ds.Rows = ds.Columns = 8
    return ds


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One CT of two series, and a radiograph for each character set."""
    archive = Archive.below(tmp_path_factory.mktemp("node"))
    identity = StudyIdentity(seed="ct")
    first, second = (ct_series(identity, SMALL, series=number) for number in ("1", "2"))
    archive.receive([*first, *second])
    archive.receive([named(character_set) for character_set in NAMES])
    with serving(app_over(archive.database)) as running:
        yield running


CT = StudyIdentity(seed="ct").study_uid


def value(entry: dict[str, Any], tag: str) -> Any:
    """The first value of an element."""
    return entry[tag]["Value"][0]


def test_a_study_is_listed_with_what_the_standard_asks_for(service: Service) -> None:
    (study,) = service.client.search_for_studies(search_filters={"StudyInstanceUID": CT})
    assert value(study, "00100010") == {"Alphabetic": "Test^Phantom"}
    assert value(study, "00080061") == "CT"
    assert (value(study, "00201206"), value(study, "00201208")) == (2, 6)
    assert value(study, "00081190").endswith(f"/dicom-web/studies/{CT}")
    for tag in ("00080005", "00080020", "00080030", "00080050", "00080090", "00100020", "00200010"):
        assert tag in study
    assert study["00080090"] == {"vr": "PN"}


def test_series_and_instances_are_listed_below_their_study(service: Service) -> None:
    series = service.client.search_for_series(CT)
    assert [value(one, "00200011") for one in series] == [1, 2]
    assert [value(one, "00201209") for one in series] == [3, 3]
    instances = service.client.search_for_instances(CT, value(series[1], "0020000E"))
    assert [value(one, "00200013") for one in instances] == [1, 2, 3]
    assert {value(one, "00280010") for one in instances} == {8}
    assert len(service.client.search_for_instances(CT)) == 6


def test_searches_over_all_studies_bring_the_attributes_of_the_levels_above(
    service: Service,
) -> None:
    (series,) = service.client.search_for_series(
        search_filters={"Modality": "CT", "SeriesNumber": "2"}
    )
    assert value(series, "00201208") == 6
    (instance,) = service.client.search_for_instances(
        search_filters={"Modality": "CT", "SeriesNumber": "2", "InstanceNumber": "3"}
    )
    assert value(instance, "00100020") == "PHANTOM-1"
    assert value(instance, "00200011") == 2


@pytest.mark.parametrize("character_set", NAMES)
def test_names_come_as_utf_8_whatever_the_image_was_written_in(
    service: Service, character_set: str
) -> None:
    answer = service.http.get("/studies", params={"PatientID": character_set})
    assert answer.headers["content-type"] == "application/dicom+json"
    (study,) = answer.json()
    groups = NAMES[character_set][0].split("=")
    assert list(value(study, "00100010").values()) == groups
    assert value(study, "00080005") == "ISO_IR 192"
    for group in groups:
        (again,) = service.client.search_for_studies(search_filters={"PatientName": group})
        assert again == study


def test_fields_asked_for_are_added(service: Service) -> None:
    plain = service.http.get("/studies", params={"StudyInstanceUID": CT}).json()[0]
    asked = {"StudyInstanceUID": CT, "includefield": "PatientAge,00081030"}
    more = service.http.get("/studies", params=asked).json()[0]
    assert "00101010" not in plain
    assert value(more, "00101010") == "074Y"
    every = service.http.get(f"/studies/{CT}/series", params={"includefield": "all"}).json()[0]
    assert value(every, "00180060") == 120


def test_a_limit_says_that_there_is_more(service: Service) -> None:
    answer = service.http.get("/studies", params={"limit": "2"})
    assert len(answer.json()) == 2
    assert "additional results" in answer.headers["warning"]
    rest = service.http.get("/studies", params={"limit": "10", "offset": "2"})
    assert len(rest.json()) == 4
    assert "warning" not in rest.headers


def test_fuzzy_matching_is_declined_but_the_search_is_answered(service: Service) -> None:
    answer = service.http.get("/studies", params={"PatientName": "test*", "fuzzymatching": "true"})
    assert len(answer.json()) == 1
    assert "Only literal matching has been performed" in answer.headers["warning"]


@pytest.mark.parametrize(
    "query",
    [
        "NoSuchAttribute=1",
        "00189999=1",
        "SeriesDescription=x",
        "RequestAttributesSequence.RequestedProcedureID=1",
        "StudyDate=2024",
        "StudyDate=-",
        "StudyTime=25h",
        "StudyInstanceUID=1.2.x",
        "limit=-1",
        "limit=many",
        "offset=99999999",
        "fuzzymatching=maybe",
        "PatientID=1&PatientID=2",
        "includefield=NoSuchAttribute",
        "PatientName=a%00b",
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_reason(service: Service, query: str) -> None:
    answer = service.http.get(f"/studies?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_only_json_is_offered(service: Service) -> None:
    xml = 'multipart/related; type="application/dicom+xml"'
    assert service.http.get("/studies", headers={"Accept": xml}).status_code == 406
    both = f"{xml}, application/json;q=0.5"
    answer = service.http.get("/studies", headers={"Accept": both})
    assert answer.headers["content-type"] == "application/json"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
PARAMETERS = st.sampled_from(
    [
        *("PatientName", "PatientID", "StudyDate", "StudyTime", "ModalitiesInStudy", "limit"),
        *("offset", "includefield", "fuzzymatching", "00200010", "StudyInstanceUID", "accept"),
        *("Modality", "SeriesNumber", "InstanceNumber", "SOPClassUID", "0040A730", "x.y"),
    ]
)
VALUES = TEXTS | st.from_regex(r"[0-9*?,\\^=\[\]%_-]{0,20}", fullmatch=True)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    level=st.sampled_from(["studies", "series", "instances", f"studies/{CT}/series"]),
    query=st.lists(st.tuples(PARAMETERS | TEXTS, VALUES), max_size=4),
    accept=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
)
def test_no_query_breaks_a_search(
    service: Service, level: str, query: list[tuple[str, str]], accept: str | None
) -> None:
    headers = {} if accept is None else {"Accept": accept.strip()}
    answer = service.http.get(f"/{level}", params=tuple(query), headers=headers)
    assert answer.status_code in (200, 400, 406), answer.text


STEPS = st.sampled_from(
    [
        *("studies", "series", "instances", "frames", "metadata", "rendered", "thumbnail"),
        *("bulkdata", CT, "1.2.3", "0", "1", "7FE00010", "%2e%2e", "..", "1,2", "%00", "%C3%A9"),
    ]
) | st.text("0123456789.,/%abcXYZ-_ ", max_size=12)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=9))
def test_no_address_breaks_a_retrieval(service: Service, steps: list[str]) -> None:
    # By hand, for the client would tidy the path up.
    path = "/".join(step.replace(" ", "%20").replace("%z", "") for step in steps)
    answer = service.http.request("GET", f"{service.url}/{path}")
    assert answer.status_code < 500, path


def test_a_search_tells_no_file(service: Service, tmp_path: Path) -> None:
    """What lies where on the disk is nobody's business."""
    texts = [
        service.http.get(path).text
        for path in ("/studies", "/series", "/instances", f"/studies/{CT}/metadata")
    ]
    assert not any("instances/20" in text or ".dcm" in text for text in texts)
    assert not any(str(tmp_path.parent) in text for text in texts)
