"""When to try a destination again."""

from datetime import timedelta

from dicomnode.settings import Destination

_SPREAD = 0.25


def backoff(attempt: int, destination: Destination, jitter: float) -> timedelta:
    """How long to wait after failed try number `attempt` (1, 2, ...).

    Doubles from `first_retry_s` up to `longest_retry_s`. `jitter`, from 0 to 1, shortens the wait
    by up to a quarter, so that many objects do not come back at one moment.
    """
    doublings = min(max(attempt, 1) - 1, 64)
    seconds = min(destination.first_retry_s * 2.0**doublings, destination.longest_retry_s)
    return timedelta(seconds=seconds * (1 - _SPREAD * jitter))
