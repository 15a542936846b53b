"""Rule files that people put to work, in all their versions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, text

from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.matching import RuleText
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import EventRow, JobRow, RuleActivationRow, RuleSetRow
from dicomnode.store.upsert import insert_new

MOST_FAULTS_TOLD = 3


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


_TOLD = (EventName.RULES_LOADED.value, EventName.RULES_REFUSED.value)


def tell_of_rules(
    database: Database, in_force: RuleText, faults: Sequence[str], now: datetime
) -> None:
    """Write down which rules are in force, and why the file as it is now is not, if so.

    Repeating it writes nothing.
    """
    facts: dict[str, FactValue] = {"digest": in_force.digest}
    name = EventName.RULES_LOADED
    if faults:
        name = EventName.RULES_REFUSED
        facts |= {"faults": len(faults), "reason": "; ".join(faults[:MOST_FAULTS_TOLD])}
    with database.writing() as connection:
        insert_new(
            connection,
            RuleSetRow,
            [{"digest": in_force.digest, "text": in_force.text, "first_used_at": now}],
        )
        last = connection.execute(_last_told()).one_or_none()
        if last is None or (last.name, last.facts) != (name.value, facts):
            write_events(connection, [Event(name=name, facts=facts)], now)


def rules_in_force(database: Database) -> str | None:
    """The text that the node went by when it last told; None: it never did."""
    with database.reading() as connection:
        last = connection.execute(_last_told()).one_or_none()
        if last is None:
            return None
        digest = last.facts["digest"]
        return connection.scalar(select(RuleSetRow.text).where(RuleSetRow.digest == digest))


def refused_rules(connection: Connection) -> Row[Any] | None:
    """The event (`at`, `facts`) that says why the rule file as it is now is not used."""
    last = connection.execute(_last_told()).one_or_none()
    return last if last is not None and last.name == EventName.RULES_REFUSED.value else None


def _last_told() -> Select[Any]:
    """By the index of names: two looks, however many events there are."""
    newest = [
        select(func.max(EventRow.id)).where(EventRow.name == name).scalar_subquery()
        for name in _TOLD
    ]
    return (
        select(EventRow.name, EventRow.at, EventRow.facts)
        .where(EventRow.id.in_(newest))
        .order_by(EventRow.id.desc())
        .limit(1)
    )


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
