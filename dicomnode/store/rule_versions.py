"""Rule files that people put to work, in all their versions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, text

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.matching import RuleText
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import JobRow, RuleActivationRow, RuleSetRow
from dicomnode.store.upsert import insert_new


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """Somebody puts a rule file to work."""

    by: str
    at: datetime
    based_on: str
    """Digest of the text that was edited."""
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVersion:
    """A rule file that was in force, or was put to work and not used yet."""

    digest: str
    first_used_at: datetime
    activated_at: datetime | None
    """None: it was edited by hand."""
    by: str
    remark: str
    jobs: int
    """Jobs it has made."""


WriteDown = Callable[[Activation, RuleText, RuleText], None]


@contextmanager
def activating(database: Database) -> Iterator[WriteDown]:
    """One activation at a time. Yields what writes one down: (activation, old text, new text).

    Committed when the block ends without error.
    """
    with database.writing() as connection:
        if not database.is_sqlite:
            # On SQLite a writing transaction is alone by itself.
            connection.execute(text("LOCK TABLE rule_activation IN EXCLUSIVE MODE"))
        yield lambda activation, old, new: _write_down(connection, activation, old, new)


def _write_down(
    connection: Connection, activation: Activation, old: RuleText, new: RuleText
) -> None:
    rows = [
        {"digest": one.digest, "text": one.text, "first_used_at": activation.at}
        for one in (old, new)
    ]
    for row in rows:
        insert_new(connection, RuleSetRow, [row])
    connection.execute(
        insert(RuleActivationRow).values(
            digest=new.digest,
            replaced_digest=old.digest,
            by=activation.by,
            remark=activation.remark,
            at=activation.at,
        )
    )
    facts = {"digest": new.digest, "replaced": old.digest, "by": activation.by}
    write_events(connection, [Event(name=EventName.RULES_ACTIVATED, facts=facts)], activation.at)


def rule_versions(database: Database, limit: int) -> list[RuleVersion]:
    """The versions that are kept, the one put to work last first."""
    last = (
        select(RuleActivationRow.digest, func.max(RuleActivationRow.id).label("id"))
        .group_by(RuleActivationRow.digest)
        .subquery()
    )
    jobs = (
        select(func.count())
        .where(JobRow.rule_set_digest == RuleSetRow.digest)
        .correlate(RuleSetRow)
        .scalar_subquery()
    )
    query = (
        select(
            RuleSetRow.digest,
            RuleSetRow.first_used_at,
            RuleActivationRow.at,
            RuleActivationRow.by,
            RuleActivationRow.remark,
            jobs.label("jobs"),
        )
        .outerjoin(last, last.c.digest == RuleSetRow.digest)
        .outerjoin(RuleActivationRow, RuleActivationRow.id == last.c.id)
        .order_by(
            func.coalesce(RuleActivationRow.at, RuleSetRow.first_used_at).desc(),
            func.coalesce(RuleActivationRow.id, 0).desc(),
        )
        .limit(limit)
    )
    with database.reading() as connection:
        return [
            RuleVersion(
                digest=row.digest,
                first_used_at=row.first_used_at,
                activated_at=row.at,
                by=row.by or "",
                remark=row.remark or "",
                jobs=row.jobs,
            )
            for row in connection.execute(query)
        ]
