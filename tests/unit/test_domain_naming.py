"""Templates of series descriptions: what they say, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.domain.naming import FIELDS, LONGEST, Template

VALUES = {
    "title": "Lungs on CT",
    "kind": "SEG",
    "version": "1.2.0",
    "algorithm": "lung_ct",
    "source_number": "3",
    "source_description": "Thorax 1 mm",
    "revision": "",
}
DEFAULT = "{title} {kind}[, series {source_number}][, rev {revision}]"


def test_a_part_in_brackets_needs_all_of_its_fields() -> None:
    assert Template(DEFAULT).filled(VALUES) == "Lungs on CT SEG, series 3"
    second = {**VALUES, "source_number": "", "revision": "2"}
    assert Template(DEFAULT).filled(second) == "Lungs on CT SEG, rev 2"


def test_a_long_title_gives_way_to_what_tells_series_apart() -> None:
    named = Template(DEFAULT).filled({**VALUES, "title": "x" * 100, "revision": "12"})
    assert len(named) == LONGEST
    assert named.endswith(" SEG, series 3, rev 12")


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=200)))
def test_whatever_the_values_it_fits_and_is_plain(values: dict[str, str]) -> None:
    named = Template("{source_description} {title} {kind} {version}").filled({**VALUES, **values})
    assert len(named) <= LONGEST
    assert named.isprintable()
    assert "\\" not in named


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{title} {kin}", "there is no field {kin}"),
        ("{title.__class__} {kind}", "there is no field"),
        ("{kind!r}", "there is no field"),
        ("{title}", "{kind} is needed"),
        ("{kind} [a [b]]", "square brackets"),
        ("{kind} a]", "square brackets"),
        ("{kind", "expected"),
        ("{kind} a\\b", "no backslash"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace("[", r"\[").replace("{", r"\{")):
        Template(text)
