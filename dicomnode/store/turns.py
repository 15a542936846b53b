"""Rules take turns: one that makes a thousand jobs does not keep another's single one waiting.

Start-time fair queueing: among jobs of one priority, a new job stands behind the last waiting one
of its own rule, but not before the turn that is being served.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from dicomnode.domain.jobs import JobState
from dicomnode.store.tables import JobRow


def give_turns(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Set `turn` of jobs that are about to be made; each has `rule_name` and `priority`."""
    given: dict[tuple[str, int], int] = {}
    for row in rows:
        of = (row["rule_name"], row["priority"])
        last = given.get(of)
        given[of] = row["turn"] = _next_turn(connection, *of) if last is None else last + 1


def _next_turn(connection: Connection, rule: str, priority: int) -> int:
    waiting = (JobRow.state == JobState.QUEUED.value, JobRow.priority == priority)
    served = connection.scalar(select(func.min(JobRow.turn)).where(*waiting))
    mine = connection.scalar(
        select(func.max(JobRow.turn)).where(*waiting, JobRow.rule_name == rule)
    )
    return max(served or 0, 0 if mine is None else mine + 1)
