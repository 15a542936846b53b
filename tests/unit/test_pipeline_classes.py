"""From what a network gave to findings: probabilities, boxes on the image, disagreement."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.codes import Code
from dicomnode.domain.errors import ContractBroken
from dicomnode.domain.findings import CaptionFinding, ClassFinding
from dicomnode.pipeline.boxes import box_around, boxes_of
from dicomnode.pipeline.classes import Reading, findings_of
from dicomnode.pipeline.manifest import Boxes, Classes, ImageClass, RatioCheck

CARDIOMEGALY = Code("8186001", "SCT", "Cardiomegaly")


def reading(**changes: object) -> Reading:
    """A map of 8 x 8 over an image of 64 rows and 32 columns; lungs in its lower half."""
    organs = np.zeros((3, 8, 8), np.float32)
    organs[1, 4:, :4] = organs[2, 4:, 4:] = 1
    organs[0, 5:7, 2:6] = 1
    heat = np.zeros((2, 8, 8), np.float32)
    heat[0, 5:7, 1:3], heat[0, 1, 1], heat[0, 7, 7] = 1.0, 9.0, 0.6
    made = Reading(
        logits=np.array([2.0, -2.0], np.float32),
        heatmaps=heat,
        organs=organs,
        ratio=0.55,
        to_image=np.diag([4.0, 8.0, 1.0]),
        shape=(64, 32),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def classes(**changes: object) -> Classes:
    first = ImageClass(
        name="Opacity",
        code=CARDIOMEGALY,
        operating_point=0.5,
        reported=True,
        boxes=Boxes(share=0.5, most=2),
    )
    second = ImageClass(name="Cardiomegaly", code=CARDIOMEGALY, operating_point=0.1, reported=True)
    values: dict[str, object] = {"kind": "classes", "classes": {0: first, 1: second}}
    return Classes.model_validate({**values, **changes})


def test_boxes_lie_on_the_organ_and_in_the_images_coordinates() -> None:
    opacity, cardiomegaly = findings_of(reading(), classes())
    assert isinstance(opacity, ClassFinding)
    assert isinstance(cardiomegaly, ClassFinding)
    assert opacity.positive
    assert opacity.probability == pytest.approx(1 / (1 + np.exp(-2)))
    assert cardiomegaly.positive
    assert cardiomegaly.marks == ()
    # The hottest place lies outside the lungs and does not count; the cooler one makes a box too.
    first, second = opacity.marks
    assert first.points.tolist() == [[4, 40], [12, 40], [12, 56], [4, 56], [4, 40]]
    assert second.points.max(0).tolist() == [32, 64]


def test_below_its_operating_point_a_class_has_no_boxes_and_switched_off_it_is_not_there() -> None:
    wanted = classes()
    off = {
        0: wanted.classes[0].model_copy(update={"operating_point": 0.95}),
        1: wanted.classes[1].model_copy(update={"reported": False}),
    }
    (opacity,) = findings_of(reading(), classes(classes=off))
    assert isinstance(opacity, ClassFinding)
    assert not opacity.positive
    assert opacity.marks == ()


def test_calibration_changes_the_probability() -> None:
    one = classes().classes[0].model_copy(update={"temperature": 4.0, "bias": -2.0})
    (first, _) = findings_of(reading(), classes(classes={0: one, 1: classes().classes[1]}))
    assert isinstance(first, ClassFinding)
    assert first.probability == pytest.approx(0.5)


@pytest.mark.parametrize(("ratio", "said"), [(0.55, False), (0.42, True)])
def test_a_heart_called_large_that_is_not_wide_is_told(ratio: float, said: bool) -> None:
    check = RatioCheck(name="Cardiomegaly", at_least=0.5)
    found = findings_of(reading(ratio=ratio), classes(ratio_check=check))
    captions = [one.text for one in found if isinstance(one, CaptionFinding)]
    assert bool(captions) is said
    assert all("0.42" in text for text in captions)


def test_the_box_of_the_heart_is_the_hearts() -> None:
    (box,) = box_around(reading().organs[0] > 0.5)
    assert (box.left, box.top, box.right, box.bottom) == (2, 5, 6, 7)
    assert box_around(np.zeros((4, 4), bool)) == []
    assert boxes_of(-np.ones((4, 4), np.float32), np.ones((4, 4), bool), share=0.5, most=1) == []


def test_what_is_not_described_or_not_finite_breaks_the_contract() -> None:
    with pytest.raises(ContractBroken, match="1 classes"):
        findings_of(reading(logits=np.zeros(1, np.float32)), classes())
    with pytest.raises(ContractBroken, match="not finite"):
        findings_of(reading(logits=np.array([np.nan, 0], np.float32)), classes())
