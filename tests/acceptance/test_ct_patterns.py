"""The bundle of patterns on phantoms it has not seen, through the whole of inference."""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.findings import SegmentFinding
from dicomnode.phantom.case import Case, make_case
from dicomnode.phantom.lesions import LesionKind
from dicomnode.phantom.series import write_case
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.studies import StudyIdentity

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "ct_patterns"


def found(case: Case, folder: Path) -> dict[str, np.ndarray]:
    """Name -> mask on the case's grid, from its DICOM files on."""
    volume = read_series(write_case(case, folder, StudyIdentity(seed=folder.name)))
    findings = load_bundle(BUNDLE).run({"image": volume}, RunContext(device="cpu", scratch=folder))
    return {one.name: one.mask for one in findings if isinstance(one, SegmentFinding)}


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, dict[str, np.ndarray]]:
    """Consolidations made by other formulas than those the network learned from."""
    case = make_case(
        90_021,
        region=(280.0, 350.0),
        spacing_mm=(3.0, 2.0, 2.0),
        pathology={LesionKind.CONSOLIDATION: 2},
    )
    return case, found(case, tmp_path_factory.mktemp("ill"))


def test_what_is_marked_as_consolidation_lies_on_one(
    ill: tuple[Case, dict[str, np.ndarray]],
) -> None:
    case, masks = ill
    large = case.lesion_map > 0
    assert large.sum() > 2000
    marked = masks["consolidation"]
    # Little of it: the network is sure of what was painted as in its training only.
    assert marked[large].mean() > 0.1
    assert marked[large].mean() > 10 * marked[~large].mean()


def test_a_healthy_chest_shows_next_to_nothing(tmp_path: Path) -> None:
    case = make_case(90_022, region=(280.0, 350.0), spacing_mm=(3.0, 2.0, 2.0))
    masks = found(case, tmp_path)
    body = float((case.labels > 0).sum())
    assert sum(float(mask.sum()) for mask in masks.values()) / body < 0.05


def test_it_says_that_it_is_experimental() -> None:
    identity = load_bundle(BUNDLE).identity
    assert "Experimental" in identity.intended_use
    assert "synthetic" in identity.intended_use
