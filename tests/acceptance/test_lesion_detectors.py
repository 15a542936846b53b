"""The bundles of lesions on a phantom they have not seen: sound marks, near what was planted."""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.codes import LONG_AXIS, SHORT_AXIS
from dicomnode.domain.findings import LesionFinding
from dicomnode.domain.volumes import Volume
from dicomnode.phantom.case import Case, make_case
from dicomnode.phantom.lesions import Lesion, LesionKind
from dicomnode.phantom.series import write_case
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.lesions import least_score
from dicomnode.pipeline.manifest import Lesions
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.studies import StudyIdentity

ROOT = Path(__file__).resolve().parents[2] / "algorithms"


@pytest.fixture(scope="module")
def case() -> Case:
    """Part of a chest with nodules."""
    wanted = {LesionKind.LUNG_NODULE: 8}
    return make_case(
        90_018, region=(300.0, 390.0), spacing_mm=(3.0, 2.0, 2.0), pathology=wanted, detail=False
    )


def bundle(name: str) -> BundleAlgorithm:
    return load_bundle(ROOT / name)


def away(mark: LesionFinding, planted: Lesion) -> float:
    """Millimetres from the middle of a mark's box to the middle of what was planted."""
    assert mark.box_lps_mm is not None
    return float(np.linalg.norm(mark.box_lps_mm.mean(0) - planted.centre_lps_mm))


@pytest.fixture(scope="module")
def volume(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    folder = tmp_path_factory.mktemp("ct")
    return read_series(write_case(case, folder, StudyIdentity(seed="lesions")))


@pytest.fixture(scope="module")
def found(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> list[LesionFinding]:
    """What the bundle of all types marks, from the case's DICOM files on."""
    context = RunContext(device="cpu", scratch=tmp_path_factory.mktemp("run"))
    findings = bundle("universal_lesion").run({"image": volume}, context)
    assert all(isinstance(one, LesionFinding) for one in findings)
    return [one for one in findings if isinstance(one, LesionFinding)]


def test_both_bundles_say_what_they_are() -> None:
    for name in ("lymph_node", "universal_lesion"):
        identity = bundle(name).identity
        assert identity.name == name
        assert "Research use only" in identity.intended_use
        assert "synthetic" in identity.intended_use


def test_marks_lie_on_what_was_planted_and_say_its_type(
    case: Case, found: list[LesionFinding]
) -> None:
    planted = [one for one in case.lesions if one.diameter_mm >= 10]
    assert planted
    hit = [
        one
        for one in planted
        if any(
            mark.name.startswith("Lung nodule") and away(mark, one) <= one.diameter_mm / 2 + 2
            for mark in found
        )
    ]
    assert len(hit) >= 2 / 3 * len(planted)


def test_every_mark_has_both_axes_a_mask_and_a_score(found: list[LesionFinding]) -> None:
    for one in found:
        sizes = {each.name: each.value for each in one.measurements}
        assert 0 < sizes[SHORT_AXIS] <= sizes[LONG_AXIS] + 0.5
        assert 0 < one.score <= 1
        assert one.mask is not None
        assert one.mask[one.marks[0].slice_index].any()


def test_marks_are_those_of_all_candidates_that_reach_their_point(
    volume: Volume, found: list[LesionFinding], tmp_path: Path
) -> None:
    algorithm = bundle("universal_lesion")
    wanted = algorithm.manifest.outputs.pred
    assert isinstance(wanted, Lesions)
    rate = wanted.false_positives_per_volume
    every = algorithm.candidates({"image": volume}, RunContext(device="cpu", scratch=tmp_path))
    reported = [
        one
        for one in every
        if wanted.types[one.type].reported
        and one.score >= least_score(wanted.points_of(one.type), rate)
    ]
    assert 0 < len(found) <= wanted.most
    assert len(reported) < len(every)
    assert [one.score for one in found] == pytest.approx(
        [one.score for one in reported[: wanted.most]], abs=1e-3
    )
    for one, same in zip(found, reported, strict=False):
        assert one.box_lps_mm is not None
        assert np.abs(one.box_lps_mm - same.box).max() < 0.1
