"""Sums over what reports say, kept in the commit that changes it.

A change of reports stands inside `recounted`: what they add to the sums is taken away before and
added again after, so that a sum is right whichever way a report was corrected, withdrawn, matched
or read again. Sums of a version of the miner that is not in force yet are kept beside.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, TextClause, bindparam, text

from dicomnode.store.comparisons import compare_all, compare_reports, take_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """A table of sums: its key beyond the version, its sums, and what reports add to them."""

    table: str
    keys: Mapping[str, str]
    sums: Mapping[str, str]
    tables: str
    joined: str

    def add(self, which: str) -> str:
        """The statement that adds `:sign` times what the reports of `which` make."""
        columns = ", ".join(["version_id", "in_force", *self.keys, *self.sums])
        keys = ", ".join(["version_id", "in_force", *self.keys])
        values = ", ".join(
            [
                "l.version_id",
                "coalesce(l.version_id = r.version_id, false)",
                *self.keys.values(),
                *(f":sign * {one}" for one in self.sums.values()),
            ]
        )
        return (
            f"INSERT INTO {self.table} ({columns}) SELECT {values} {self.tables} "
            f"WHERE r.is_current AND r.status <> 'cancelled' AND {self.joined} AND {which} "
            f"GROUP BY {', '.join(str(n + 1) for n in range(2 + len(self.keys)))} "
            f"ON CONFLICT ({keys}) DO UPDATE SET {self._added()}"
        )

    def move(self, to_force: bool) -> tuple[str, str]:
        """Let the sums of `:version` count, or let those of all others count no more."""
        keys = ", ".join(["version_id", "in_force", *self.keys])
        rest = ", ".join([*self.keys, *self.sums])
        which = f"version_id {'=' if to_force else '<>'} :version"
        which += f" AND {'NOT ' if to_force else ''}in_force"
        insert = (
            f"INSERT INTO {self.table} (version_id, in_force, {rest}) "  # noqa: S608
            f"SELECT version_id, {to_force}, {rest} FROM {self.table} WHERE {which} "
            f"ON CONFLICT ({keys}) DO UPDATE SET {self._added()}"
        )
        return insert, f"DELETE FROM {self.table} WHERE {which}"  # noqa: S608

    def _added(self) -> str:
        return ", ".join(f"{one} = {self.table}.{one} + excluded.{one}" for one in self.sums)


# CROSS JOIN: SQLite keeps to this order. Left to itself it reads all labels for a few reports.
_LABELS = "FROM report r CROSS JOIN mining_version v CROSS JOIN report_label l"
_OF_REPORT = "l.version_id = v.id AND l.report_id = r.id"
_MONTH = "substr(r.study_date, 1, 4) || '-' || substr(r.study_date, 5, 2)"
_BY_VALUE = {
    name: f"sum(CASE WHEN l.value = {value} THEN 1 ELSE 0 END)"
    for name, value in (("positive", 1), ("negative", 0), ("uncertain", -1))
}
_SUMS = (
    _Sum(
        table="report_month",
        keys={"month": _MONTH},
        sums={"reports": "count(*)"},
        tables="FROM report r CROSS JOIN mining_version v CROSS JOIN report_reading l",
        joined=_OF_REPORT,
    ),
    _Sum(
        table="label_month",
        keys={"label": "l.name", "month": _MONTH},
        sums=_BY_VALUE,
        tables=_LABELS,
        joined=_OF_REPORT,
    ),
    _Sum(
        table="label_unit",
        keys={"label": "l.name", "referring_unit": "substr(r.referring_unit, 1, 200)"},
        sums=_BY_VALUE,
        tables=_LABELS,
        joined=_OF_REPORT,
    ),
    _Sum(
        table="label_together",
        keys={"first": "l.name", "second": "b.name"},
        sums={"reports": "count(*)"},
        tables=f"{_LABELS} CROSS JOIN report_label b",
        joined=f"{_OF_REPORT} AND l.value = 1 AND b.version_id = l.version_id "
        "AND b.report_id = l.report_id AND b.name > l.name AND b.value = 1",
    ),
)
_STUDY_SUMS = (
    _Sum(
        table="label_scanner",
        keys={
            "label": "l.name",
            **{
                name: f"substr(coalesce(s.{name}, ''), 1, 64)"
                for name in ("station", "manufacturer", "model")
            },
        },
        sums=_BY_VALUE,
        tables="FROM report r CROSS JOIN scanner s CROSS JOIN mining_version v "
        "CROSS JOIN report_label l",
        joined=f"s.study_uid = r.study_uid AND {_OF_REPORT}",
    ),
)
_POSITIVE = (
    "SELECT l.name, d.study_date, r.id, l.version_id FROM report r CROSS JOIN study d "  # noqa: S608
    "CROSS JOIN mining_version v CROSS JOIN report_label l "
    f"WHERE d.study_uid = r.study_uid AND {_OF_REPORT} AND l.value = 1 AND "
)
_POSITIVE_KEY = "label, study_date, report_id, version_id"
_THESE = "r.id IN :ids"
_ALL = "r.id IS NOT NULL"


def _with_ids(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("ids", expanding=True))


_ADD = {one.table: _with_ids(one.add(_THESE)) for one in (*_SUMS, *_STUDY_SUMS)}
_FORGET_POSITIVE = _with_ids(
    f"DELETE FROM positive_study WHERE ({_POSITIVE_KEY}) IN ({_POSITIVE}{_THESE})"  # noqa: S608
)
_NOTE_POSITIVE = _with_ids(
    f"INSERT INTO positive_study ({_POSITIVE_KEY}) {_POSITIVE}{_THESE} ON CONFLICT DO NOTHING"
)
_HAS_READING = _with_ids(
    "SELECT 1 FROM report r CROSS JOIN mining_version v CROSS JOIN report_reading l "  # noqa: S608
    f"WHERE {_OF_REPORT} AND {_THESE} LIMIT 1"
)


@contextmanager
def recounted(
    connection: Connection, report_ids: Sequence[int], *, study_only: bool = False
) -> Iterator[None]:
    """Inside, rows of these reports may change; the sums follow.

    `study_only`: nothing changes but the study of a report, or what is known of the study. To be
    entered before the transaction has locked a row of a report.
    """
    if not report_ids:
        yield
        return
    ids = sorted(report_ids)
    take_turn(connection)
    sums = [*([] if study_only else _SUMS), *_STUDY_SUMS]
    if connection.execute(_HAS_READING, {"ids": ids}).first() is not None:
        _add(connection, sums, ids, -1)
        connection.execute(_FORGET_POSITIVE, {"ids": ids})
    yield
    if connection.execute(_HAS_READING, {"ids": ids}).first() is not None:
        _add(connection, sums, ids, 1)
        connection.execute(_NOTE_POSITIVE, {"ids": ids})
        compare_reports(connection, ids)


def _add(connection: Connection, sums: Iterable[_Sum], ids: Sequence[int], sign: int) -> None:
    for one in sums:
        connection.execute(_ADD[one.table], {"ids": ids, "sign": sign})


def put_sums_in_force(connection: Connection, version_id: int) -> None:
    """Let the sums of a version count for every report; it has read all of them."""
    take_turn(connection)
    for one in (*_SUMS, *_STUDY_SUMS):
        for to_force in (False, True):
            for statement in one.move(to_force):
                used = {"version": version_id}
                connection.execute(text(statement), used)
    compare_all(connection)


def recount_all(connection: Connection) -> None:
    """Make everything anew from what it follows from; reads every label."""
    take_turn(connection)
    if connection.dialect.name == "postgresql":
        # Much may have been written a moment ago, and a bad plan takes hours here.
        connection.execute(text("ANALYZE"))
    for one in (*_SUMS, *_STUDY_SUMS):
        connection.execute(text(f"DELETE FROM {one.table}"))  # noqa: S608
        connection.execute(text(one.add(_ALL)), {"sign": 1})
    connection.execute(text("DELETE FROM positive_study"))
    connection.execute(text(f"INSERT INTO positive_study ({_POSITIVE_KEY}) {_POSITIVE}{_ALL}"))
    compare_all(connection)
