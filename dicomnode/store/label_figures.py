"""What reports say, counted; and where models say otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from dicomnode.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """How often one label is said, in one group of reports."""

    group: str
    """The label itself, a month, a scanner."""
    reports: int
    """Among how many."""
    positive: int
    negative: int
    uncertain: int

    @property
    def percent(self) -> float:
        """Positive ones among them."""
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


def mined_reports(database: Database) -> int:
    """Current reports that the miner has read."""
    with database.reading() as connection:
        return _mined(connection)


def _mined(connection: Connection) -> int:
    query = "SELECT coalesce(sum(reports), 0) FROM report_month WHERE in_force"
    return int(connection.scalar(text(query)) or 0)


def by_label(database: Database) -> list[LabelCount]:
    """Every label that is mentioned, the most frequent first, among all reports."""
    query = """
        SELECT label AS name, sum(positive) AS positive, sum(negative) AS negative,
          sum(uncertain) AS uncertain
        FROM label_month WHERE in_force GROUP BY label
        HAVING sum(positive + negative + uncertain) > 0 ORDER BY sum(positive) DESC, label
    """
    with database.reading() as connection:
        total = _mined(connection)
        return [_count(row, total) for row in connection.execute(text(query))]


def by_month(database: Database, label: str) -> list[LabelCount]:
    """One label month by month, among the reports of the month; undated reports are left out."""
    query = """
        SELECT r.month AS name, sum(r.reports) AS reports, sum(coalesce(l.positive, 0)) AS positive,
          sum(coalesce(l.negative, 0)) AS negative, sum(coalesce(l.uncertain, 0)) AS uncertain
        FROM report_month r
        LEFT JOIN label_month l ON l.version_id = r.version_id AND l.in_force = r.in_force
          AND l.month = r.month AND l.label = :label
        WHERE r.in_force AND length(r.month) = 7
        GROUP BY r.month HAVING sum(r.reports) > 0 ORDER BY r.month
    """
    with database.reading() as connection:
        rows = connection.execute(text(query), {"label": label})
        return [_count(row, int(row.reports)) for row in rows]


def by_scanner(database: Database, label: str) -> list[LabelCount]:
    """One label scanner by scanner, among the reports with a known study that mention it."""
    query = """
        SELECT station || ' ' || manufacturer || ' ' || model AS name, sum(positive) AS positive,
          sum(negative) AS negative, sum(uncertain) AS uncertain
        FROM label_scanner WHERE in_force AND label = :label
        GROUP BY station, manufacturer, model
        HAVING sum(positive + negative + uncertain) > 0
        ORDER BY station, manufacturer, model
    """
    with database.reading() as connection:
        return [
            _count(row, int(row.positive + row.negative + row.uncertain))
            for row in connection.execute(text(query), {"label": label})
        ]


def _count(row: Row[Any], reports: int) -> LabelCount:
    return LabelCount(
        group=row.name.strip() or "not stated",
        reports=reports,
        # PostgreSQL sums into a decimal.
        positive=int(row.positive),
        negative=int(row.negative),
        uncertain=int(row.uncertain),
    )


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
