"""Each destination gets the forms it wants, and a LABELMAP only where there is one."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.settings import Settings
from dicomnode.steps.forms import OVERLAP, kinds_to_make, parcels_of

EVERY = ("SEG", "SEGL", "SR", "SRL", "SC", "PR", "KO")


def settings(**of_destination: object) -> Settings:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "localhost", "port": 104}
    return Settings.model_validate({"destinations": [pacs | of_destination]})


def objects(kinds: Sequence[str]) -> tuple[EncodedObject, ...]:
    return tuple(
        EncodedObject(
            kind=ResultKind(kind),
            sop_instance_uid=InstanceUid(f"1.2.{number}"),
            sop_class_uid="1.2",
            study_uid=StudyUid("1.3"),
            series_uid=SeriesUid(f"1.4.{number}"),
            path=Path(kind),
            sha256="",
        )
        for number, kind in enumerate(kinds)
    )


@pytest.mark.parametrize(
    ("wanted", "made", "sent"),
    [
        ({}, EVERY, {"SEG", "SR"}),
        ({"send": ["SC"]}, EVERY, {"SC"}),
        ({"send": ["SR", "GSPS", "KOS"]}, EVERY, {"SR", "PR", "KO"}),
        ({"segmentation": "labelmap"}, EVERY, {"SEGL", "SRL"}),
        ({"segmentation": "labelmap", "send": ["SR", "SC"]}, EVERY, {"SR", "SC"}),
        ({"segmentation": "labelmap"}, ("SEG", "SR"), {"SEG", "SR"}),
        ({"segmentation": "labelmap"}, ("SR",), {"SR"}),
    ],
)
def test_a_destination_gets_what_it_wants_of_what_there_is(
    wanted: dict[str, object], made: Sequence[str], sent: set[str]
) -> None:
    (parcel,) = parcels_of(objects(made), settings(**wanted), ["pacs"])
    assert {encoded.kind.value for encoded in parcel.objects} == sent


def test_a_labelmap_that_could_not_be_made_is_told_but_not_one_of_nothing() -> None:
    asked = settings(segmentation="labelmap")
    (fell_back,) = parcels_of(objects(("SEG", "SR")), asked, ["pacs"])
    assert fell_back.fell_back_because == OVERLAP
    (nothing,) = parcels_of(objects(("SR",)), asked, ["pacs"])
    assert not nothing.fell_back_because


def test_what_is_made_is_what_any_destination_wants_beside_seg_and_sr() -> None:
    assert kinds_to_make(settings(send=["SC"]), ["pacs"]) == {
        ResultKind.SEG,
        ResultKind.SR,
        ResultKind.SECONDARY_CAPTURE,
    }


def test_a_destination_taken_out_of_the_settings_keeps_the_usual_forms() -> None:
    assert kinds_to_make(settings(), ["gone"]) == {ResultKind.SEG, ResultKind.SR}
    (parcel,) = parcels_of(objects(EVERY), settings(), ["gone"])
    assert {encoded.kind.value for encoded in parcel.objects} == {"SEG", "SR"}
