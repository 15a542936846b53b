"""A mirrored radiograph whose header is silent: nothing is called right or left as if sure."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.findings import CaptionFinding, Finding, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.radiograph import read_radiograph

BUNDLES = Path(__file__).resolve().parents[2] / "algorithms"
SAMPLES = Path(str(files("dicomnode.testing"))) / "samples" / "chest_radiograph"

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's own, about optional readers


@pytest.fixture(scope="module")
def radiograph() -> Volume:
    (path,) = SAMPLES.glob("*.dcm")
    return replace(read_radiograph(path), orientation=None)


@pytest.fixture(scope="module")
def mirrored(radiograph: Volume) -> Volume:
    return replace(radiograph, array=np.ascontiguousarray(radiograph.array[:, :, ::-1]))


def run(name: str, image: Volume, folder: Path) -> tuple[tuple[Finding, ...], list[str]]:
    context = RunContext(device="cpu", scratch=folder)
    found = load_bundle(BUNDLES / name).run({"image": image}, context)
    return tuple(found), context.notes


def test_lungs_of_a_mirrored_image_are_named_by_where_they_lie(
    mirrored: Volume, tmp_path: Path
) -> None:
    found, notes = run("cxr_heart_lung", mirrored, tmp_path)
    assert [note for note in notes if "sides are not certain" in note] == notes
    assert len(notes) == 1
    places = {
        one.name: float(np.nonzero(one.mask[0])[1].mean()) / one.mask.shape[2]
        for one in found
        if isinstance(one, SegmentFinding)
    }
    assert set(places) == {
        "heart",
        "lung at the left of the image",
        "lung at the right of the image",
    }
    assert places["lung at the left of the image"] < 0.5 < places["lung at the right of the image"]
    assert all(one.laterality is None for one in found if isinstance(one, SegmentFinding))


def test_sides_that_a_header_states_are_named_and_the_doubt_is_noted(
    mirrored: Volume, tmp_path: Path
) -> None:
    stated = replace(mirrored, orientation=("L", "F"))
    found, notes = run("cxr_heart_lung", stated, tmp_path)
    assert len(notes) == 1
    assert "by its header (PatientOrientation) the heart lies at the patient's right" in notes[0]
    assert {one.name for one in found} >= {"heart", "right lung", "left lung"}


@pytest.mark.parametrize("name", ["cxr_heart_lung", "cxr_thorax", "cxr_description"])
def test_an_image_that_lies_as_usual_gets_no_note(
    radiograph: Volume, tmp_path: Path, name: str
) -> None:
    assert run(name, radiograph, tmp_path)[1] == []


@pytest.mark.parametrize("name", ["cxr_thorax", "cxr_description"])
def test_the_others_say_so_too_and_write_neither_right_nor_left(
    mirrored: Volume, tmp_path: Path, name: str
) -> None:
    found, notes = run(name, mirrored, tmp_path)
    assert len(notes) == 1
    assert "sides are not certain" in notes[0]
    written = " ".join(one.text for one in found if isinstance(one, CaptionFinding))
    assert not {"right", "left"} & set(written.split())
