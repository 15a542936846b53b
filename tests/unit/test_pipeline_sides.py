"""Right and left are told only where the heart lies as it usually does."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.codes import HEART, LEFT, LUNG, RIGHT, Code
from dicomnode.domain.findings import Finding, SegmentFinding
from dicomnode.pipeline.sides import (
    Mask,
    doubt,
    doubt_of_segments,
    heart_to_the_left,
    without_sides,
)
from dicomnode.testing.findings import outlined


def between(first: int, last: int, rows: int = 40, columns: int = 100) -> Mask:
    mask = np.zeros((rows, columns), dtype=bool)
    mask[10:30, first:last] = True
    return mask


USUAL = between(45, 70)
LUNGS = (between(10, 40), between(65, 90))


def segment(name: str, mask: Mask, kind: Code, side: Code | None = None) -> SegmentFinding:
    return replace(outlined(mask[None], name, kind), laterality=side)


def outlines(*, mirrored: bool) -> tuple[SegmentFinding, ...]:
    """As a network tells them that knows no mirrored chest: the lungs by where they lie."""
    heart, (right, left) = USUAL, LUNGS
    if mirrored:
        heart, right, left = heart[:, ::-1], left[:, ::-1], right[:, ::-1]
    return (
        segment("heart", heart, HEART),
        segment("right lung", right, LUNG, RIGHT),
        segment("left lung", left, LUNG, LEFT),
    )


def test_the_heart_is_measured_from_the_middle_of_the_lungs_by_their_width() -> None:
    # Centres at 25 and 77.5, outer ends at 10 and 90: the middle is 50.625, the heart at 57.5.
    assert heart_to_the_left(USUAL, LUNGS) == pytest.approx((57.5 - 50.625) / 80)


def test_mirrored_it_is_as_far_on_the_other_side() -> None:
    mirrored = heart_to_the_left(USUAL[:, ::-1], (LUNGS[1][:, ::-1], LUNGS[0][:, ::-1]))
    assert mirrored == pytest.approx(-(57.5 - 50.625) / 80)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_nothing_is_said_where_heart_or_a_lung_is_missing(missing: int) -> None:
    masks = [USUAL[:, ::-1], LUNGS[1][:, ::-1], LUNGS[0][:, ::-1]]
    masks[missing] = np.zeros_like(USUAL)
    assert heart_to_the_left(masks[0], (masks[1], masks[2])) is None
    assert doubt(masks[0], (masks[1], masks[2]), None) is None


@pytest.mark.parametrize("orientation", [None, ("L", "F"), ("A", "F")])
def test_a_heart_that_lies_as_usual_raises_no_doubt(orientation: tuple[str, str] | None) -> None:
    assert doubt(USUAL, LUNGS, orientation) is None


def test_a_silent_header_leaves_a_mirrored_image_possible() -> None:
    found = doubt_of_segments(outlines(mirrored=True), None)
    assert found is not None
    assert not found.is_told
    assert "sides are not certain" in found.note
    assert "at the left of the image, where the patient's right usually is" in found.note
    assert "mirrored image, dextrocardia or situs inversus" in found.note


def test_a_header_that_states_the_side_is_told_apart() -> None:
    found = doubt_of_segments(outlines(mirrored=True), ("L", "F"))
    assert found is not None
    assert found.is_told
    assert "by its header (PatientOrientation) the heart lies at the patient's right" in found.note
    assert "a header that is wrong" in found.note


def test_a_header_that_states_no_frontal_view_counts_as_silent() -> None:
    found = doubt_of_segments(outlines(mirrored=True), ("A", "F"))
    assert found is not None
    assert not found.is_told


def test_outlines_without_both_lungs_raise_no_doubt() -> None:
    assert doubt_of_segments(outlines(mirrored=True)[:2], None) is None
    unnamed = tuple(replace(one, laterality=None) for one in outlines(mirrored=True))
    assert doubt_of_segments(unnamed, None) is None


def test_without_sides_lungs_are_named_by_where_they_lie_on_the_image() -> None:
    found: tuple[Finding, ...] = outlines(mirrored=True)
    heart, one, other = without_sides(found)
    assert heart is found[0]
    assert isinstance(one, SegmentFinding)
    assert isinstance(other, SegmentFinding)
    assert (one.name, one.laterality) == ("lung at the left of the image", None)
    assert (other.name, other.laterality) == ("lung at the right of the image", None)
    columns = [np.nonzero(each.mask[0])[1].mean() for each in (one, other)]
    assert columns[0] < 50 < columns[1]
