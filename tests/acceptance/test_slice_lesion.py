"""The slice-wise bundle on a phantom: what it marks can be written, and it says what it is."""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.codes import LONG_AXIS, SHORT_AXIS
from dicomnode.domain.findings import LesionFinding
from dicomnode.phantom.case import make_case
from dicomnode.phantom.lesions import LesionKind
from dicomnode.phantom.series import write_case
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.studies import StudyIdentity

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "slice_lesion"


@pytest.mark.timeout(1200)
def test_marks_are_few_sound_and_lie_on_slices(tmp_path: Path) -> None:
    case = make_case(
        90_019,
        region=(300.0, 360.0),
        spacing_mm=(4.0, 2.0, 2.0),
        pathology={LesionKind.LUNG_NODULE: 4},
        detail=False,
    )
    volume = read_series(write_case(case, tmp_path / "ct", StudyIdentity(seed="slices")))
    algorithm = load_bundle(BUNDLE)
    assert "Experimental" in algorithm.identity.intended_use
    context = RunContext(device="cpu", scratch=tmp_path)
    every = algorithm.candidates({"image": volume}, context)
    planted = [one for one in case.lesions if one.diameter_mm >= 10]
    hit = [
        one
        for one in planted
        if any(
            np.linalg.norm(told.box.mean(0) - one.centre_lps_mm) <= one.diameter_mm
            for told in every[:6]
        )
    ]
    assert len(hit) >= len(planted) / 2 > 0
    findings = algorithm.run({"image": volume}, context)
    marks = [one for one in findings if isinstance(one, LesionFinding)]
    assert len(marks) <= 20
    for one in marks:
        sizes = {each.name: each.value for each in one.measurements}
        assert sizes[LONG_AXIS] >= sizes[SHORT_AXIS] > 0
        assert one.marks[0].slice_index == one.marks[1].slice_index
        assert 0 < one.score <= 1
        assert one.mask is None
        assert one.site is not None
