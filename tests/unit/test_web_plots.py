"""Plots are valid SVG, say what they show, escape what they print and draw their numbers."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.web.plots import HEIGHT, WIDTH, Plot, Series, bars, lines, rows

SVG = "{http://www.w3.org/2000/svg}"


def plot(*values: float | None, name: str = "n", whole: bool = False) -> Plot:
    return Plot(
        id="p",
        title="Title <b>",
        words='Words & "more"',
        axis="place",
        places=[f"<place {number}>" for number in range(len(values))],
        series=[Series(name=name, values=values)],
        whole=whole,
    )


def parsed(text: str) -> ET.Element:
    return ET.fromstring(str(text).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.mark.parametrize("draw", [bars, lines, rows])
def test_a_picture_says_what_it_shows(draw: object) -> None:
    assert callable(draw)
    root = parsed(draw(plot(1, None, 3)))
    assert root.get("role") == "img"
    named = str(root.get("aria-labelledby")).split()
    texts = {one.get("id"): one.text for one in root}
    assert [texts[name] for name in named] == ["Title <b>", 'Words & "more"']


def test_bars_are_as_high_as_their_numbers() -> None:
    found = parsed(bars(plot(1, 2, 0, None, 4, whole=True))).findall(f"{SVG}rect")
    heights = [float(str(one.get("height"))) for one in found]
    assert len(heights) == 3
    assert heights[1] / heights[0] == pytest.approx(2, rel=0.01)
    assert heights[2] / heights[0] == pytest.approx(4, rel=0.01)


def test_a_line_has_gaps_where_nothing_is_known_and_a_mark_for_a_lone_number() -> None:
    root = parsed(lines(plot(1, 2, None, 3)))
    assert len(root.findall(f"{SVG}polyline")) == 1
    assert len(root.findall(f"{SVG}circle")) == 3


NUMBERS = st.none() | st.floats(min_value=0, max_value=1e12, allow_nan=False)


@given(st.lists(NUMBERS, max_size=60), st.booleans())
def test_whatever_the_numbers_everything_lies_inside(
    values: list[float | None], whole: bool
) -> None:
    for draw in (bars, lines):
        root = parsed(draw(plot(*values, whole=whole)))
        for one in root.iter():
            for key, most in (("x", WIDTH), ("cx", WIDTH), ("y", HEIGHT), ("cy", HEIGHT)):
                if (number := one.get(key)) is not None:
                    assert -0.1 <= float(number) <= most + 0.1
