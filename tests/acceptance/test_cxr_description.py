"""The shipped cascade: what it writes of a radiograph, and that it never writes too much."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.findings import CaptionFinding
from dicomnode.domain.results import ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.results import encode_results
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.classes import probability
from dicomnode.pipeline.manifest import Statements
from dicomnode.pipeline.radiograph import read_radiograph
from dicomnode.pipeline.statements import statements_of
from dicomnode.settings import OutputSettings

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "cxr_description"
SAMPLES = Path(str(files("dicomnode.testing"))) / "samples" / "chest_radiograph"

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's and torch's own


@pytest.fixture(scope="module")
def writer() -> BundleAlgorithm:
    return load_bundle(BUNDLE)


@pytest.fixture(scope="module")
def radiograph() -> Volume:
    (path,) = SAMPLES.glob("*.dcm")
    return read_radiograph(path)


def wanted(writer: BundleAlgorithm) -> Statements:
    pred = writer.manifest.outputs.pred
    assert isinstance(pred, Statements)
    return pred


def test_every_class_at_its_operating_point_is_written_and_no_other(
    writer: BundleAlgorithm, radiograph: Volume, tmp_path: Path
) -> None:
    context = RunContext(device="cpu", scratch=tmp_path)
    findings = writer.run({"image": radiograph}, context)
    assert all(isinstance(one, CaptionFinding) for one in findings)
    reading = writer.reading({"image": radiograph}, context)
    assert reading.words is not None
    present = {
        one.name.lower()
        for number, one in wanted(writer).classes.items()
        if one.reported and probability(float(reading.logits[number]), one) >= one.operating_point
    }
    said = {one.text.split(" / ")[0].split(" (")[0] for one in findings}  # type: ignore[union-attr]
    assert said == present or (not present and "None of these" in next(iter(said)))
    # As if everything were there: still nothing but reported classes and words allowed for them.
    everything = replace(reading, logits=np.full_like(reading.logits, 20.0))
    allowed = {
        one.name.lower(): set(wanted(writer).words.get(number, {}).values())
        for number, one in wanted(writer).classes.items()
        if one.reported
    }
    captions = statements_of(everything, wanted(writer))
    assert len(captions) == len(allowed)
    for caption in captions:
        disease, *context_words = caption.text.split(" (")[0].split(" / ")
        assert set(context_words) <= allowed[disease]


def test_only_classes_that_cxr_thorax_reports_and_words_that_held_up_may_be_said(
    writer: BundleAlgorithm,
) -> None:
    thorax = json.loads((BUNDLE.with_name("cxr_thorax") / "configs" / "dicom.json").read_text())
    classes = wanted(writer).classes
    for number, one in thorax["outputs"]["pred"]["classes"].items():
        assert classes[int(number)].reported == one["reported"]
        assert classes[int(number)].operating_point == one["operating_point"]
    judged = json.loads((BUNDLE / "docs" / "cross_validation.json").read_text())
    for one in judged["attributes"]:
        if one["disease"] == "Lung_Opacity" and one["attribute"] == "side":
            side_held_up = one["round 2, gain"][1] > 0
    opacity = next(n for n, one in classes.items() if one.name == "Lung opacity")
    assert ("right" in wanted(writer).words[opacity].values()) == side_held_up
    assert "Research use only" in writer.identity.intended_use


def test_what_is_not_upright_is_refused(
    writer: BundleAlgorithm, radiograph: Volume, tmp_path: Path
) -> None:
    array = np.ascontiguousarray(np.rot90(radiograph.array[0])[np.newaxis])
    turned = replace(radiograph, array=array, grid=replace(radiograph.grid, shape=array.shape))
    with pytest.raises(InputRefused, match="quarter"):
        writer.run({"image": turned}, RunContext(device="cpu", scratch=tmp_path))


def test_the_statements_stand_in_the_report(
    writer: BundleAlgorithm, radiograph: Volume, tmp_path: Path
) -> None:
    findings = writer.run({"image": radiograph}, RunContext(device="cpu", scratch=tmp_path))
    made = encode_results(
        findings,
        radiograph,
        identity=writer.identity,
        derivation=Derivation(
            job_key="a" * 64, revision=1, made_at=datetime.now(UTC), software_versions=("test",)
        ),
        out=tmp_path,
        settings=OutputSettings(),
    )
    (report,) = [dcmread(one.path) for one in made if one.kind is ResultKind.SR]
    said: list[str] = []
    report.walk(lambda _, element: said.append(str(element.value)), recursive=True)
    for finding in findings:
        assert isinstance(finding, CaptionFinding)
        assert finding.text in said
    assert any("Research use only" in text for text in said)
