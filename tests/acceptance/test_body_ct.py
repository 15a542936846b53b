"""The body bundle on a synthetic person it never saw, as the node runs it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.codes import MEAN
from dicomnode.domain.findings import Finding, SegmentFinding
from dicomnode.phantom import Case, Organ, Phase, make_case
from dicomnode.phantom.series import write_case
from dicomnode.phantom.structures import BONES
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.studies import StudyIdentity

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "algorithms/body_ct"


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(
        3, region=(110.0, 260.0), spacing_mm=(5.0, 3.0, 3.0), phase=Phase.PORTAL, detail=False
    )


@pytest.fixture(scope="module")
def findings(case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SegmentFinding]:
    folder = tmp_path_factory.mktemp("ct")
    volume = read_series(write_case(case, folder / "series", StudyIdentity(seed="body")))
    context = RunContext(device="cpu", scratch=folder)
    found: list[Finding] = list(load_bundle(BUNDLE).run({"image": volume}, context))
    return {one.name: one for one in found if isinstance(one, SegmentFinding)}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_liver_and_bone_lie_where_they_were_painted(
    case: Case, findings: dict[str, SegmentFinding]
) -> None:
    assert dice(findings["liver"].mask, case.labels == Organ.LIVER) > 0.9
    bone = np.isin(case.labels, [int(o) for o in BONES if o is not Organ.HUMERUS])
    assert dice(findings["bone"].mask, bone) > 0.8


@pytest.mark.parametrize(
    ("name", "organ"),
    [
        ("spleen", Organ.SPLEEN),
        ("right kidney", Organ.KIDNEY_RIGHT),
        ("left kidney", Organ.KIDNEY_LEFT),
        ("aorta", Organ.AORTA),
    ],
)
def test_spleen_kidneys_and_aorta_lie_where_they_were_painted_on_their_side(
    case: Case, findings: dict[str, SegmentFinding], name: str, organ: Organ
) -> None:
    assert dice(findings[name].mask, case.labels == organ) > 0.5


def test_tissues_are_measured(case: Case, findings: dict[str, SegmentFinding]) -> None:
    liver = {m.derivation: m.value for m in findings["liver"].measurements}
    assert liver[MEAN] == pytest.approx(float(case.hu[case.labels == Organ.LIVER].mean()), abs=8)
    fat = {m.name.value for m in findings["subcutaneous fat"].measurements}
    assert {"118565006", "fat-volume", "mean-area"} <= fat
    true = (case.labels == Organ.MUSCLE) | (case.labels == Organ.PSOAS)
    assert findings["muscle"].mask[true].mean() > 0.6


def test_what_lost_to_its_baseline_on_a_real_patient_stays_off(
    findings: dict[str, SegmentFinding],
) -> None:
    organs = {"liver", "spleen", "right kidney", "left kidney", "aorta"}
    assert set(findings) <= organs | {"bone", "muscle", "subcutaneous fat", "visceral fat"}


def test_the_weights_are_the_ones_that_were_described() -> None:
    described = json.loads((BUNDLE / "configs/dicom.json").read_text())["files"]
    present = {f"models/{p.name}" for p in (BUNDLE / "models").iterdir()}
    assert set(described) == present
    for name, digest in described.items():
        assert hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest() == digest
