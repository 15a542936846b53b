"""What reports say, counted; and where models say otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from dicomnode.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """How often one label is said, in one group of reports."""

    group: str
    """The label itself, a month, a scanner."""
    reports: int
    """Reports of the group that were mined."""
    positive: int
    negative: int
    uncertain: int

    @property
    def percent(self) -> float:
        """Positive ones among all of the group."""
        return 100.0 * self.positive / self.reports if self.reports else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A model and a report that differ on one label of one study."""

    study_uid: str
    report_id: int
    label: str
    verdict: str
    """ai-only, report-only or report-unsure."""
    report_value: int | None
    """1, 0, -1; None: not mentioned."""
    ai_value: int
    score: float | None
    algorithm: str
    job_id: str
    sentence: str
    """Where the report speaks of it; empty: nowhere."""


_SUMS = """
  sum(CASE WHEN l.value = 1 THEN 1 ELSE 0 END) AS positive,
  sum(CASE WHEN l.value = 0 THEN 1 ELSE 0 END) AS negative,
  sum(CASE WHEN l.value = -1 THEN 1 ELSE 0 END) AS uncertain
"""


def mined_reports(database: Database) -> int:
    """Current reports that the miner has read."""
    with database.reading() as connection:
        return _mined(connection)


def _mined(connection: Connection) -> int:
    query = "SELECT count(*) FROM current_report c WHERE c.version_id IS NOT NULL"
    return connection.scalar(text(query)) or 0


def by_label(database: Database) -> list[LabelCount]:
    """Every label that is mentioned, the most frequent first."""
    query = f"""
        SELECT l.label AS name, {_SUMS} FROM mentioned_label l GROUP BY l.label
        ORDER BY positive DESC, l.label
    """  # noqa: S608
    with database.reading() as connection:
        total = _mined(connection)
        return [
            LabelCount(
                group=row.name,
                reports=total,
                positive=row.positive,
                negative=row.negative,
                uncertain=row.uncertain,
            )
            for row in connection.execute(text(query))
        ]


def by_month(database: Database, label: str) -> list[LabelCount]:
    """One label month by month; reports that no date is known of are left out."""
    return _grouped(database, label, "c.month", "length(c.study_date) = 8")


def by_scanner(database: Database, label: str) -> list[LabelCount]:
    """One label scanner by scanner, over reports whose study is known."""
    name = "coalesce(s.station, '') || ' ' || coalesce(s.manufacturer, '')"
    name += " || ' ' || coalesce(s.model, '')"
    return _grouped(database, label, name, "s.study_uid IS NOT NULL")


def _grouped(database: Database, label: str, group: str, condition: str) -> list[LabelCount]:
    query = f"""
        SELECT {group} AS name, count(*) AS reports, {_SUMS}
        FROM current_report c
        LEFT JOIN scanner s ON s.study_uid = c.study_uid
        LEFT JOIN report_label l
          ON l.version_id = c.version_id AND l.report_id = c.report_id AND l.name = :label
        WHERE c.version_id IS NOT NULL AND {condition}
        GROUP BY {group} ORDER BY {group}
    """  # noqa: S608
    with database.reading() as connection:
        return [
            LabelCount(
                group=row.name.strip() or "not stated",
                reports=row.reports,
                positive=row.positive,
                negative=row.negative,
                uncertain=row.uncertain,
            )
            for row in connection.execute(text(query), {"label": label})
        ]


def disagreements(
    database: Database, *, verdict: str = "", label: str = "", limit: int, skip: int = 0
) -> Sequence[Disagreement]:
    """Where model and report differ, newest reports first; empty values ask for nothing."""
    query = """
        SELECT a.study_uid, a.report_id, a.label, a.verdict, a.report_value, a.ai_value, a.score,
          a.algorithm, a.job_id,
          (SELECT substr(p.text, m.sentence_start + 1, m.sentence_end - m.sentence_start)
           FROM report r
           JOIN report_label l
             ON l.version_id = r.version_id AND l.report_id = r.id AND l.name = a.label
           JOIN mention m ON m.version_id = l.version_id AND m.report_id = l.report_id
             AND m.number = l.mention
           JOIN report_part p ON p.report_id = m.report_id AND p.number = m.part
           WHERE r.id = a.report_id) AS sentence
        FROM ai_versus_report a
        WHERE a.verdict <> 'agree' AND (:verdict = '' OR a.verdict = :verdict)
          AND (:label = '' OR a.label = :label)
        ORDER BY a.report_id DESC, a.label
        LIMIT :limit OFFSET :skip
    """
    values = {"verdict": verdict, "label": label, "limit": limit, "skip": skip}
    with database.reading() as connection:
        return [
            Disagreement(
                study_uid=row.study_uid,
                report_id=row.report_id,
                label=row.label,
                verdict=row.verdict,
                report_value=row.report_value,
                ai_value=row.ai_value,
                score=row.score,
                algorithm=row.algorithm,
                job_id=row.job_id,
                sentence=row.sentence or "",
            )
            for row in connection.execute(text(query), values)
        ]
