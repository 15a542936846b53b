"""Is a study whole? Decided from evidence alone.

No receiver of C-STORE can know that a sender is done, so several signals are weighed, in this
order:

1. nothing new has come since the last revision: open, whatever else is true;
2. the hard limit has passed since the first new image: closed (HARD_LIMIT), even if associations
   are open or the sender announced more, so that nothing waits for ever;
3. an association that brought images of the study is open: open;
4. the sender's own count equals ours: closed (COUNT_AGREED);
5. the sender's count is higher than ours: open until it is met or the hard limit passes;
6. all series that the rules require are here and `released_s` passed: closed (COMPLETE);
7. `quiet_s` passed since the last image: closed (QUIET).

A count that could not be asked, or is lower than what is already here, says nothing: 6 and 7
decide.

Late images: closing makes revision n. What comes after it is the evidence of revision n+1:
`new_instances`, `first_new_at` and `last_new_at` speak of the images that revision n does not
hold, `received_instances` still counts all. So revision n+1 opens with its first late image and
has a hard limit of its own; once closed, its snapshot holds the earlier images too, and its
results supersede those of revision n. The same function decides for a single series, given the
evidence of that series.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from dicomnode.domain.studies import ClosingReason, Evidence
from dicomnode.settings import AssemblySettings


class Waiting(Enum):
    """Why a study is still open; the value is shown to people."""

    NOTHING_NEW = "nothing new has arrived since the last revision"
    ASSOCIATION_OPEN = "an association that brought images is still open"
    MORE_ANNOUNCED = "the sender counts more images than have arrived"
    REQUIRED_SERIES_MISSING = "series that a rule requires have not arrived; waiting for quiet"
    NOT_YET_QUIET = "the last image arrived only just now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The evidence closes the study."""

    reason: ClosingReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The evidence does not close the study yet."""

    why: Waiting
    look_again_at: datetime
    """When time alone may change the answer, at most `quiet_s` ahead; later than now. New
    evidence (an image, a release, a count) is a reason to look at once."""


def decide(evidence: Evidence, policy: AssemblySettings, now: datetime) -> Closed | Open:
    """Whether the study is closed at `now` (timezone-aware, like the times in `evidence`).

    With the same evidence and a clock that runs forward, what is closed stays closed. If the clock
    was set back, so that images seem to come from the future, a wait may last up to twice its
    length; a time further ahead than that wait is not believed and counts as long past.
    """
    quiet = timedelta(seconds=policy.quiet_s)
    limit = timedelta(seconds=policy.hard_limit_s)
    if evidence.new_instances <= 0:
        return Open(why=Waiting.NOTHING_NEW, look_again_at=now + quiet)
    hard_at = _due(evidence.first_new_at, limit, now)
    if hard_at <= now:
        return Closed(reason=ClosingReason.HARD_LIMIT)
    expected = evidence.expected_instances
    if evidence.open_associations > 0:
        return _open(Waiting.ASSOCIATION_OPEN, now, hard_at, now + quiet)
    if expected is not None and expected == evidence.received_instances:
        return Closed(reason=ClosingReason.COUNT_AGREED)
    if expected is not None and expected > evidence.received_instances:
        return _open(Waiting.MORE_ANNOUNCED, now, hard_at, now + quiet)
    return _by_time(evidence, policy, now, hard_at)


def _by_time(
    evidence: Evidence, policy: AssemblySettings, now: datetime, hard_at: datetime
) -> Closed | Open:
    """Nobody is sending and no count helps: how long ago was the last image?"""
    quiet_at = _due(evidence.last_new_at, timedelta(seconds=policy.quiet_s), now)
    complete_at = quiet_at
    if evidence.required_series_present:
        complete_at = _due(evidence.last_new_at, timedelta(seconds=policy.released_s), now)
        if complete_at <= now:
            return Closed(reason=ClosingReason.COMPLETE)
    if quiet_at <= now:
        return Closed(reason=ClosingReason.QUIET)
    missing = evidence.required_series_present is False
    why = Waiting.REQUIRED_SERIES_MISSING if missing else Waiting.NOT_YET_QUIET
    return _open(why, now, hard_at, quiet_at, complete_at, now + timedelta(seconds=policy.quiet_s))


def _due(since: datetime, wait: timedelta, now: datetime) -> datetime:
    """When `wait` after `since` is over; at once if `since` is further ahead than `wait`."""
    return now if since - now > wait else since + wait


def _open(why: Waiting, now: datetime, *moments: datetime) -> Open:
    return Open(why=why, look_again_at=min(moment for moment in moments if moment > now))
