"""How pages write numbers, dates and priorities."""

import pytest

from dicomnode.domain.matching import Priority
from dicomnode.web.rendering import day, figure, number_of, priority


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.21000000000000002, "0.21"),
        (0.47000000000000003, "0.47"),
        (1234567, "1234567"),
        (1234.5678, "1234.57"),
        (0.0, "0"),
        (-0.000012345678, "-1.23457e-05"),
    ],
)
def test_numbers_of_an_answer_have_six_digits_and_whole_ones_all(
    value: float, written: str
) -> None:
    assert figure(value) == written


def test_one_is_not_many() -> None:
    assert [number_of(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_priorities_are_named_as_rules_name_them() -> None:
    assert [priority(one.value) for one in Priority] == ["stat", "high", "routine", "low"]
    assert priority(57) == "57"


def test_dates_get_dashes_and_anything_else_stays() -> None:
    assert [day(text) for text in ("20240131", "", "2024")] == ["2024-01-31", "", "2024"]
