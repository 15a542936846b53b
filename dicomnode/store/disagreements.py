"""Where models and reports differ, listed by key."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from dicomnode.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class DisagreementKey:
    """The place of a disagreement in the list, newest reports first."""

    report_id: int
    label: str
    job_id: str


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
    run: int
    """Of the job: its pictures change with it."""
    sentence: str
    """Where the report speaks of it; empty: nowhere."""

    @property
    def key(self) -> DisagreementKey:
        """Its place in the list."""
        return DisagreementKey(report_id=self.report_id, label=self.label, job_id=self.job_id)


# The first comparison alone lets the index of reports lead to the page.
_BEHIND = """
    AND a.report_id <= :report AND (a.report_id < :report OR a.label > :name
      OR (a.label = :name AND a.job_id > :job))
"""


def disagreements(
    database: Database,
    *,
    verdict: str = "",
    label: str = "",
    limit: int,
    behind: DisagreementKey | None = None,
) -> Sequence[Disagreement]:
    """Where model and report differ, newest reports first; empty values ask for nothing.

    `behind`: only what stands behind this place, the next page.
    """
    query = f"""
        SELECT a.study_uid, a.report_id, a.label, a.verdict, a.report_value, a.ai_value, a.score,
          a.algorithm, a.job_id, (SELECT j.run FROM job j WHERE j.id = a.job_id) AS run,
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
          AND (:label = '' OR a.label = :label) {_BEHIND if behind else ""}
        ORDER BY a.report_id DESC, a.label, a.job_id
        LIMIT :limit
    """  # noqa: S608 (fixed texts)
    values: dict[str, str | int] = {"verdict": verdict, "label": label, "limit": limit}
    if behind is not None:
        values |= {"report": behind.report_id, "name": behind.label, "job": behind.job_id}
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
                run=row.run,
                sentence=row.sentence or "",
            )
            for row in connection.execute(text(query), values)
        ]
