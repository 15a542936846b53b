"""Which procedure a report says that it is on (PS3.16 TID 1500, Procedure reported)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.codes import CHEST_RADIOGRAPH
from dicomnode.domain.results import ResultKind
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.results import encode_results
from dicomnode.pipeline.bundle_files import read_identity, read_manifest
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import PHANTOM_ALGORITHM
from dicomnode.testing.studies import StudyIdentity, ct_series, radiograph
from dicomnode.testing.volumes import written_volume

BUNDLES = Path(__file__).parents[2] / "algorithms"
READS_CHESTS = replace(PHANTOM_ALGORITHM, procedure=CHEST_RADIOGRAPH)
DERIVATION = Derivation(
    job_key="job", revision=1, made_at=datetime(2024, 1, 31, tzinfo=UTC), software_versions=("1",)
)

Told = Callable[[list[Dataset], AlgorithmIdentity], list[tuple[str, str, str]]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """The procedures of the report on these images."""

    def _told(images: list[Dataset], identity: AlgorithmIdentity) -> list[tuple[str, str, str]]:
        volume = written_volume(images, tmp_path)
        encoded = encode_results(
            (),
            volume,
            identity=identity,
            derivation=DERIVATION,
            out=tmp_path / "out",
            settings=OutputSettings(),
        )
        (path,) = (each.path for each in encoded if each.kind is ResultKind.SR)
        values = [
            item.ConceptCodeSequence[0]
            for item in srread(path).ContentSequence
            if item.ConceptNameCodeSequence[0].CodeValue == "121058"
        ]
        return [(one.CodeValue, one.CodingSchemeDesignator, one.CodeMeaning) for one in values]

    return _told


def image(body_part: str, seed: str = "procedure") -> Dataset:
    ds = radiograph(StudyIdentity(seed=seed))
    ds.BodyPartExamined = body_part
    return ds


def test_what_passed_the_gate_for_chests_is_reported_as_a_chest_radiograph(told: Told) -> None:
    assert told([image("")], READS_CHESTS) == [("30745-4", "LN", "XR Chest Views")]


@pytest.mark.parametrize("name", ["cxr_heart_lung", "cxr_thorax", "cxr_description"])
def test_every_shipped_bundle_for_radiographs_says_that_it_reads_chests(name: str) -> None:
    root = BUNDLES / name
    assert read_identity(root, read_manifest(root)).procedure == CHEST_RADIOGRAPH


def test_a_bundle_without_that_gate_says_nothing(told: Told) -> None:
    root = BUNDLES / "lung_ct"
    assert read_identity(root, read_manifest(root)).procedure is None
    assert told([image("")], PHANTOM_ALGORITHM) == [("43468-8", "LN", "XR unspecified body region")]


@pytest.mark.parametrize("body_part", ["CHEST", "THORAX"])
def test_the_body_part_of_the_header_is_told(told: Told, body_part: str) -> None:
    assert told([image(body_part)], PHANTOM_ALGORITHM) == [("30745-4", "LN", "XR Chest Views")]


def test_a_ct_of_the_chest_is_called_so(told: Told) -> None:
    series = ct_series(StudyIdentity(seed="procedure ct"))
    for ds in series:
        ds.BodyPartExamined = "CHEST"
    assert told(series, PHANTOM_ALGORITHM) == [("24627-2", "LN", "CT Chest")]


def test_a_hand_is_no_chest(told: Told) -> None:
    assert told([image("HAND")], PHANTOM_ALGORITHM)[0][0] == "43468-8"


def test_the_procedure_that_the_header_names_is_taken_over(told: Told) -> None:
    ds, code = image("CHEST"), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "399208008", "SCT"
    code.CodeMeaning = "Plain X-ray of chest"
    ds.ProcedureCodeSequence = [code]
    assert told([ds], READS_CHESTS) == [("399208008", "SCT", "Plain X-ray of chest")]
