"""Codes and the numbers that carry them."""

import pytest

from dicomnode.domain.codes import HOUNSFIELD, ML, MM, PIXELS, RATIO, Code, number_in_words


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5234, RATIO, "0.52"),
        (143.21, MM, "143.2 mm"),
        (2480.4, ML, "2,480 ml"),
        (0.254, ML, "0.25 ml"),
        (439.0, PIXELS, "439.0 px"),
        (-830.06, HOUNSFIELD, "-830.1 HU"),
    ],
)
def test_numbers_are_written_as_people_read_them(value: float, unit: Code, text: str) -> None:
    assert number_in_words(value, unit.value) == text
