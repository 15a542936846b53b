"""When a destination is tried again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.deliver import backoff
from dicomnode.settings import Destination


def _destination(first_retry_s: float = 5.0, longest_retry_s: float = 900.0) -> Destination:
    return Destination(
        name="pacs",
        ae_title="PACS",
        host="127.0.0.1",
        port=104,
        first_retry_s=first_retry_s,
        longest_retry_s=longest_retry_s,
    )


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (10_000, 900)]
)
def test_the_wait_doubles_up_to_the_longest(attempt: int, seconds: float) -> None:
    assert backoff(attempt, _destination(), 0.0) == timedelta(seconds=seconds)


@given(
    attempt=st.integers(1, 1_000_000),
    first=st.floats(0.01, 10_000),
    longest=st.floats(0.01, 100_000),
    jitter=st.floats(0, 1),
)
def test_the_wait_is_never_longer_than_allowed_nor_shortened_by_more_than_a_quarter(
    attempt: int, first: float, longest: float, jitter: float
) -> None:
    destination = _destination(first, longest)
    wait = backoff(attempt, destination, jitter).total_seconds()
    full = backoff(attempt, destination, 0.0).total_seconds()
    assert wait <= longest + 1e-6
    assert 0.75 * full - 1e-6 <= wait <= full + 1e-6


@given(attempt=st.integers(1, 200), jitter=st.floats(0, 1))
def test_a_later_try_never_comes_sooner(attempt: int, jitter: float) -> None:
    destination = _destination()
    assert backoff(attempt + 1, destination, jitter) >= backoff(attempt, destination, jitter)
