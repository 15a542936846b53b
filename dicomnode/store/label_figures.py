"""What reports say, counted."""

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
