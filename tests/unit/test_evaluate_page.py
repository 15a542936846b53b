"""The report of `dicomnode evaluate` on classes of radiographs: what stands in it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dicomnode.evaluate.page import mean_of_eight, write_report
from dicomnode.evaluate.scoring import Scored
from dicomnode.evaluate.summary import Summary, summarise
from dicomnode.evaluate.truths import Labelled
from dicomnode.evaluation.prevalence import CHESTXRAY8_RESNET50
from dicomnode.pipeline.bundle_files import read_manifest
from dicomnode.pipeline.manifest import Classes

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "cxr_thorax"
IMAGES = 60
KEPT = (*CHESTXRAY8_RESNET50, "Lung opacity")
BOX = (0.2, 0.2, 0.4, 0.5)

pytestmark = pytest.mark.filterwarnings("ignore")  # matplotlib's own


@pytest.fixture(scope="module")
def classes() -> Classes:
    pred = read_manifest(BUNDLE).outputs.pred
    assert pred.kind == "classes"
    kept = {number: one for number, one in pred.classes.items() if one.name in KEPT}
    return pred.model_copy(update={"classes": kept})


def scored(classes: Classes, number: int) -> Scored:
    """Every third image has every disease, and the model half knows it; one more is refused."""
    rng = np.random.default_rng(number)
    ill = number % 3 == 0
    names = [one.name for one in classes.classes.values()]
    logits = {name: float(rng.normal(2.0 if ill else 0.0, 1.5)) for name in names}
    read = number < IMAGES
    return Scored(
        image=Labelled(
            name=f"{number}.png",
            path=Path(f"{number}.png"),
            patient=str(number // 2),
            labels={name.lower().replace(" ", "_"): ill for name in names},
            positives_alone=False,
            age=float(20 + number % 60),
            sex="FM"[number % 2],
            view=("PA", "AP")[number // 2 % 2],
            split="test",
            source="",
            boxes={"lung_opacity": (BOX,)} if ill else {},
        ),
        refused="" if read else "it is turned by a quarter <i>",
        logits=logits if read else {},
        likely={name: 1 / (1 + np.exp(-3 * value)) for name, value in logits.items()},
        boxes={"Lung opacity": (BOX,)} if read else {},
        ratio=0.5,
        seconds=0.1,
    )


@pytest.fixture(scope="module")
def summary(classes: Classes) -> Summary:
    rows = [scored(classes, number) for number in range(IMAGES + 1)]
    labels = {"Lung opacity": "Lung opacity"}
    return summarise(rows, classes, [], like_nih=False, box_labels=labels, draws=5)


@pytest.fixture(scope="module")
def page(summary: Summary, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "scores.html"
    write_report(summary, out, about=[("Algorithm", "cxr_thorax 1"), ("Use", "research & no more")])
    figures = json.loads(out.with_suffix(".json").read_text())
    assert figures["mean_of_eight"] == pytest.approx(mean_of_eight(summary.classes), abs=1e-4)
    assert not {"truth", "likely", "scaled"} & figures["classes"][0].keys()
    return out.read_text()


@pytest.mark.parametrize(
    "heading",
    ["Classes", "ROC curves", "Reliability", "At the operating points", "Subgroups", "Boxes"],
)
def test_each_part_of_the_evaluation_has_a_heading(page: str, heading: str) -> None:
    assert f"<h2>{heading}" in page


def test_both_plots_are_inside_the_file(page: str) -> None:
    assert page.count('src="data:image/png;base64,') == 2
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_wide_tables_scroll_by_themselves_and_the_page_prints_across(page: str) -> None:
    assert page.count("<div class=wide><table>") == page.count("</table></div>") >= 4
    assert "<meta name=viewport" in page
    assert "@media print" in page


def test_what_comes_from_files_is_escaped(page: str) -> None:
    assert "research &amp; no more" in page
    assert "60.png: it is turned by a quarter &lt;i&gt;" in page


def test_the_mean_of_eight_wants_all_eight(page: str, summary: Summary) -> None:
    mean = mean_of_eight(summary.classes)
    assert mean is not None
    assert f"eight classes, switched off ones included: {mean:.3f}" in page
    some = [one for one in summary.classes if one.name != "Mass"]
    assert len(CHESTXRAY8_RESNET50) == 8
    assert mean_of_eight(some) is None


def test_scaling_on_other_patients_mends_what_is_too_sure(summary: Summary) -> None:
    """Logits were multiplied by three; dividing them by about that much is found."""
    effusion = next(one for one in summary.classes if one.name == "Effusion")
    assert effusion.temperature is not None
    assert effusion.temperature > 1.5
    assert effusion.scaled is not None
    assert len(effusion.scaled) == effusion.known
    assert effusion.calibration_error is not None
    assert effusion.calibration_error_scaled is not None
    assert effusion.calibration_error_scaled < effusion.calibration_error
