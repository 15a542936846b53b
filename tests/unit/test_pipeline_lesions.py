"""Lesions of a detector: checked against the volume and `dicom.json`, and not too many."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from dicomnode.algorithm import LesionLimits
from dicomnode.domain.errors import ContractBroken
from dicomnode.domain.sites import Refined
from dicomnode.domain.volumes import Grid
from dicomnode.pipeline.inference import Detections, Prediction
from dicomnode.pipeline.lesions import (
    candidates_of,
    least_reported,
    least_score,
    lesions_of,
    marked_at,
)
from dicomnode.pipeline.manifest import Lesions

NODE = ["30746006", "SCT", "Lymph node structure"]
BONE = ["272673000", "SCT", "Bone structure"]
WORDS: dict[str, Any] = {
    "kind": "lesions",
    "types": {"1": {"name": "Node", "code": NODE}, "2": {"name": "Bone", "code": BONE}},
    "sites": {
        "1": {
            "code": ["91470000", "SCT", "Axilla"],
            "laterality": ["24028007", "SCT", "Right"],
        }
    },
    "operating_points": {"1": 0.8, "4": 0.4},
    "false_positives_per_volume": 4,
}
WANTED = Lesions.model_validate(WORDS)
AFFINE = np.array([[0, 0, 1.25, -30], [0, 1.5, 0, -48], [3, 0, 0, 100], [0, 0, 0, 1]], float)
GRID = Grid(affine_lps_mm=AFFINE, shape=(20, 64, 48), frame_of_reference_uid="1.2.3")


def at(slice_index: float, row: float, column: float) -> list[float]:
    return (AFFINE @ (slice_index, row, column, 1))[:3].tolist()


def axes(slice_index: float, row: float, column: float) -> npt.NDArray[np.float64]:
    """A long axis of 8 pixels (10 mm) and a short one of 4 (6 mm) around a pixel's centre."""
    return np.array(
        [
            [at(slice_index, row, column - 4), at(slice_index, row, column + 4)],
            [at(slice_index, row - 2, column), at(slice_index, row + 2, column)],
        ]
    )


def detections(*, mask: bool = False, **changed: npt.NDArray[np.float64] | None) -> Detections:
    """Three lesions: a node of .9, a bone lesion of .3, a node of .5 at a site."""
    drawn = np.array([axes(5, 30, 20), axes(9, 20, 30), axes(12, 40, 10)])
    values = {
        "scores": np.array([0.9, 0.3, 0.5]),
        "types": np.array([1.0, 2, 1]),
        "sites": np.array([0.0, 0, 1]),
        "long_axes": drawn[:, 0],
        "short_axes": drawn[:, 1],
        **changed,
    }
    return Detections(
        values={name: value for name, value in values.items() if value is not None},
        mask=Prediction(channels=label_map(), affine=None) if mask else None,
    )


def label_map() -> npt.NDArray[np.int16]:
    """(1, columns, rows, slices): lesions 1 and 3."""
    labels = np.zeros((1, 48, 64, 20), dtype=np.int16)
    labels[0, 16:25, 28:33, 4:7] = 1
    labels[0, 6:15, 38:43, 12] = 3
    return labels


def test_lesions_are_named_by_type_and_score_and_drawn_on_their_slice() -> None:
    found = lesions_of(detections(), WANTED, GRID, LesionLimits())
    assert [one.name for one in found] == ["Node 1", "Node 2"]
    first, second = found
    assert [mark.slice_index for mark in first.marks] == [5, 5]
    # From a pixel's centre to coordinates that begin at its corner.
    np.testing.assert_allclose(first.marks[0].points, [[16.5, 30.5], [24.5, 30.5]])
    np.testing.assert_allclose(first.marks[1].points, [[20.5, 28.5], [20.5, 32.5]])
    values = {one.name.meaning: one.value for one in first.measurements}
    assert values == pytest.approx({"Long Axis": 10, "Short Axis": 6})
    assert first.site is None
    assert second.site is not None
    assert second.site.meaning == "Axilla"
    assert second.laterality is not None


def test_the_mask_goes_with_its_lesion_and_gives_the_volume() -> None:
    first, second = lesions_of(detections(mask=True), WANTED, GRID, LesionLimits())
    assert first.mask is not None
    assert np.argwhere(first.mask).min(axis=0).tolist() == [4, 28, 16]
    assert np.argwhere(first.mask).max(axis=0).tolist() == [6, 32, 24]
    assert second.mask is not None
    assert second.mask.sum() == 45
    assert first.measurements[-1].value == pytest.approx(9 * 5 * 3 * 3 * 1.5 * 1.25 / 1000)


def test_settings_choose_the_operating_point_and_the_number_of_marks() -> None:
    def names(**limits: float) -> list[str]:
        chosen = LesionLimits(**limits)  # type: ignore[arg-type]
        return [one.name for one in lesions_of(detections(), WANTED, GRID, chosen)]

    assert names(false_positives_per_volume=1) == ["Node 1"]
    assert names(most=1) == ["Node 1"]
    # Between two points of the curve the stricter one holds, below all of them the strictest.
    assert least_score(WANTED.operating_points, 3.9) == 0.8
    assert least_score(WANTED.operating_points, 0.1) == 0.8


def test_of_reported_types_alone_something_is_needed_each_from_its_point_on() -> None:
    types: dict[str, dict[str, Any]] = {
        "1": {"name": "Node", "code": NODE, "operating_points": {"1": 0.7, "4": 0.5}},
        "2": {
            "name": "Bone",
            "code": BONE,
            "operating_points": {"1": 0.3, "4": 0.2},
            "reported": False,
        },
    }
    wanted = Lesions.model_validate({**WORDS, "types": types})
    assert least_reported(wanted, LesionLimits()) == {1: 0.5}
    strict = LesionLimits(false_positives_per_volume=1)
    assert least_reported(wanted, strict) == {1: 0.7}
    both = {key: {**words, "reported": True} for key, words in types.items()}
    every = Lesions.model_validate({**WORDS, "types": both})
    assert least_reported(every, LesionLimits()) == {1: 0.5, 2: 0.2}
    none = {key: {**words, "reported": False} for key, words in types.items()}
    assert least_reported(Lesions.model_validate({**WORDS, "types": none}), LesionLimits()) == {}


def test_each_mark_and_the_report_say_the_operating_point() -> None:
    found = lesions_of(detections(), WANTED, GRID, LesionLimits())
    assert [one.operating_point for one in found] == [0.4, 0.4]
    assert marked_at(detections(), WANTED, GRID, LesionLimits()) == (
        "Marked at the point for 4 false positives a volume: "
        "Node from a score of 0.40, Bone from a score of 0.40"
    )
    strict = LesionLimits(false_positives_per_volume=1)
    assert [one.operating_point for one in lesions_of(detections(), WANTED, GRID, strict)] == [0.8]
    assert "for 1 false positives a volume: Node from a score of 0.80" in marked_at(
        detections(), WANTED, GRID, strict
    )


def test_what_the_cap_cuts_off_is_said() -> None:
    said = marked_at(detections(), WANTED, GRID, LesionLimits(most=1))
    assert said.endswith("; the 1 of the highest scores are marked, 1 more are not")
    quiet = {**WORDS, "types": {"1": {"name": "Node", "code": NODE, "reported": False}}}
    assert "No type" in marked_at(
        detections(scores=np.ones(3), types=np.ones(3)),
        Lesions.model_validate(quiet),
        GRID,
        LesionLimits(),
    )


def test_a_type_that_is_not_reported_stays_inside_and_one_may_have_its_own_points() -> None:
    types = {
        "1": {"name": "Node", "code": NODE, "reported": False},
        "2": {"name": "Bone", "code": BONE, "operating_points": {"4": 0.2}},
    }
    wanted = Lesions.model_validate({**WORDS, "types": types})
    found = lesions_of(detections(), wanted, GRID, LesionLimits())
    assert [one.name for one in found] == ["Bone 1"]
    assert len(candidates_of(detections(), wanted, GRID)) == 3


def test_a_type_may_ask_for_its_site_to_be_told_more_exactly() -> None:
    types = {"1": {**WORDS["types"]["1"], "refined": "lymph node"}, "2": WORDS["types"]["2"]}
    wanted = Lesions.model_validate({**WORDS, "types": types})
    assert wanted.refined_of("Node 12") is Refined.LYMPH_NODE
    assert wanted.refined_of("Bone 1") is None
    with pytest.raises(ValidationError, match="refined"):
        Lesions.model_validate({**WORDS, "types": {"1": {**types["1"], "refined": "anything"}}})


def test_no_lesion_is_no_fault() -> None:
    nothing = Detections(
        values={
            "scores": np.zeros(0),
            "types": np.zeros(0),
            "long_axes": np.zeros((0, 2, 3)),
            "short_axes": np.zeros((0, 2, 3)),
        },
        mask=None,
    )
    assert lesions_of(nothing, WANTED, GRID, LesionLimits()) == ()


def moved(by: tuple[float, float, float]) -> Callable[[], Detections]:
    drawn = np.array([axes(5, 30, 20), axes(9, 20, 30), axes(12, 40, 10)]) + by
    return lambda: detections(long_axes=drawn[:, 0], short_axes=drawn[:, 1])


SLANTED = np.array([axes(5, 30, 20), axes(9, 20, 30), axes(12, 40, 10)])[:, 0]
SLANTED[:, 1, 2] += 3.5
LPS_FOR_RAS = np.array([axes(5, 30, 20), axes(9, 20, 30), axes(12, 40, 10)]) * (1, 1, -1)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda: detections(scores=np.array([0.9, 1.2, 0.5])), "between 0 and 1"),
        (lambda: detections(scores=np.array([0.9, np.nan, 0.5])), "not finite"),
        (lambda: detections(types=np.array([1.0, 3, 1])), "lesion 2 is of type 3"),
        (lambda: detections(types=np.array([1.0, 1.5, 1])), "lesion 2 is of type 1.5"),
        (lambda: detections(sites=np.array([0.0, 0, 2])), "lesion 3 lies at site 2"),
        (lambda: detections(types=np.array([1.0, 2])), "types has shape"),
        (lambda: detections(long_axes=np.zeros((3, 3, 2))), "long_axes has shape"),
        (moved((60, 0, 0)), "runs outside of the volume"),
        (lambda: detections(long_axes=SLANTED), "do not lie on one slice"),
        (
            lambda: detections(long_axes=LPS_FOR_RAS[:, 0], short_axes=LPS_FOR_RAS[:, 1]),
            "runs outside of the volume",
        ),
        (
            lambda: detections(boxes=np.array([[[9.0, 9, 9], [0, 0, 0]]] * 3)),
            "corners in the wrong order",
        ),
        (
            lambda: detections(boxes=np.array([[[-9.0, -9, 0], [0, 0, 9]]] * 3)),
            "its middle outside of its box",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(broken: Callable[[], Detections], said: str) -> None:
    with pytest.raises(ContractBroken, match=said):
        lesions_of(broken(), WANTED, GRID, LesionLimits())


def test_axes_that_were_exchanged_are_refused() -> None:
    right = detections().values
    swapped = detections(long_axes=right["short_axes"], short_axes=right["long_axes"])
    with pytest.raises(ContractBroken, match=r"short axis of 10.0 mm and a long one of 6.0"):
        lesions_of(swapped, WANTED, GRID, LesionLimits())


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (label_map() * 2, "labels that are none of 0 to 3"),
        (label_map()[:, :, ::-1, ::-1], "mask of lesion 1 is not on the slice"),
        (np.concatenate([label_map()] * 2), "no single channel"),
        (label_map() * 0.5, "no single channel of labels"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(labels: npt.NDArray[np.int16], said: str) -> None:
    spoiled = Detections(values=detections().values, mask=Prediction(channels=labels, affine=None))
    with pytest.raises(ContractBroken, match=said):
        lesions_of(spoiled, WANTED, GRID, LesionLimits())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"operating_points": {"1": 0.4, "4": 0.8}}, "cannot ask for a higher score"),
        ({"false_positives_per_volume": 2}, "none of the operating points"),
        ({"types": {"0": {"name": "Node", "code": NODE}}}, "counted from 1"),
    ],
)
def test_words_that_do_not_fit_are_refused(changed: Mapping[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Lesions.model_validate({**WORDS, **changed})
