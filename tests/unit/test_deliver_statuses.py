"""What each C-STORE answer means, against PS3.4 B.2.3 and PS3.7 Annex C."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.deliver.statuses import (
    STORE_STATUSES,
    Verdict,
    failure_reason,
    is_refusal_of_form,
    store_status,
)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0x0000, Verdict.KEPT),
        (0xB000, Verdict.KEPT_WITH_WARNING),
        (0xB006, Verdict.KEPT_WITH_WARNING),
        (0xB007, Verdict.KEPT_WITH_WARNING),
        (0x0107, Verdict.KEPT_WITH_WARNING),
        (0xA700, Verdict.BUSY),
        (0xA7FF, Verdict.BUSY),
        (0x0110, Verdict.BUSY),
        (0x0213, Verdict.BUSY),
        (0xA900, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0xCFFF, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
        (0xFE00, Verdict.REFUSED),
        (0xFF00, Verdict.REFUSED),
        (0x1234, Verdict.REFUSED),
    ],
)
def test_a_status_is_judged_as_the_standard_says(status: int, verdict: Verdict) -> None:
    assert store_status(status).verdict is verdict


@given(st.integers(0, 0xFFFF))
def test_every_status_has_a_meaning_and_only_success_and_warnings_count_as_kept(
    status: int,
) -> None:
    known = store_status(status)
    kept = known.verdict in (Verdict.KEPT, Verdict.KEPT_WITH_WARNING)
    warning = status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)
    assert kept == (status == 0 or warning)
    assert known.meaning
    assert known.clause


def test_the_three_warnings_of_storage_are_told_apart() -> None:
    meanings = {store_status(status).meaning for status in (0xB000, 0xB006, 0xB007)}
    assert len(meanings) == 3


def test_no_range_of_the_table_is_hidden_behind_an_earlier_one() -> None:
    for place, later in enumerate(STORE_STATUSES):
        for earlier in STORE_STATUSES[:place]:
            assert not (earlier.first <= later.first and later.last <= earlier.last)


def test_a_failure_reason_is_told_in_words_with_its_number() -> None:
    assert failure_reason(0x0112) == "no such object instance (0x0112)"
    assert failure_reason(0x0999) == "a reason of its own (0x0999)"


@pytest.mark.parametrize(
    ("status", "blames_the_object"),
    [
        (0x0122, True),
        (0xA900, True),
        (0xA9FF, True),
        (0xC000, True),
        (0xCFFF, True),
        (0x0124, False),
        (0x0117, False),
        (0x0111, False),
        (0xA700, False),
        (0xA8FF, False),
        (0xAA00, False),
        (0xB007, False),
        (0xD000, False),
        (None, False),
    ],
)
def test_which_refusals_blame_the_form_of_the_object(
    status: int | None, blames_the_object: bool
) -> None:
    assert is_refusal_of_form(status) is blames_the_object
