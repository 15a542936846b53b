"""What models found beside what reports say, and how measurements changed; kept like sums.

Unlike a sum, each row follows from one study or one patient alone and is made anew with it.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, TextClause, bindparam, text

_LOCK = 0x64636E6F

# A finding that a report does not mention counts as denied.
_COMPARE = """
INSERT INTO comparison (job_id, report_id, label, study_uid, algorithm, report_value, ai_value,
  score, verdict)
SELECT a.job_id, l.report_id, a.label, a.study_uid, a.algorithm, l.value, a.value, a.score,
  CASE WHEN l.value = -1 THEN 'report-unsure'
    WHEN a.value = 1 AND coalesce(l.value, 0) = 0 THEN 'ai-only'
    WHEN a.value = 0 AND l.value = 1 THEN 'report-only'
    ELSE 'agree' END
FROM ai_label a
JOIN study_label l ON l.study_uid = a.study_uid AND l.label = a.label
WHERE {}
ON CONFLICT DO NOTHING
"""
_ANALYZE = "ANALYZE study, job, finding, measurement, report, report_label, label_name"
_CHANGED = """
INSERT INTO measured_change (patient_id, finding, measure, unit, first_date, first_value,
  last_date, last_value, change)
SELECT patient, finding, measure, unit, first_date, first_value, last_date, last_value,
  coalesce(abs((last_value - first_value) / nullif(first_value, 0)), 0)
FROM (
  SELECT DISTINCT patient, finding, measure, unit,
    first_value(value) OVER w AS first_value, first_value(study_date) OVER w AS first_date,
    last_value(value) OVER w AS last_value, last_value(study_date) OVER w AS last_date
  FROM measured
  WHERE derivation IS NULL AND kind <> 'lesion' AND {}
  WINDOW w AS (PARTITION BY patient, finding, measure, unit
    ORDER BY study_date, study_uid, job_id
    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) t
"""


def _listed(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("these", expanding=True))


_STUDIES_WITH_JOBS = _listed(
    "SELECT DISTINCT study_uid FROM job WHERE study_uid IN "
    "(SELECT study_uid FROM report WHERE id IN :these)"
)
_FORGET = _listed("DELETE FROM comparison WHERE study_uid IN :these")
_FORGET_REPORTS = _listed("DELETE FROM comparison WHERE report_id IN :these")
_MAKE = _listed(_COMPARE.format("a.study_uid IN :these"))
_PATIENTS = _listed("SELECT DISTINCT patient_id FROM study WHERE study_uid IN :these")
_FORGET_CHANGES = _listed("DELETE FROM measured_change WHERE patient_id IN :these")
_MAKE_CHANGES = _listed(_CHANGED.format("patient IN :these"))


def take_turn(connection: Connection) -> None:
    """Who changes what is kept waits for its turn; to be taken before rows of reports are.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def compare_reports(connection: Connection, report_ids: Sequence[int]) -> None:
    """After a change of reports: beside the models on their studies."""
    connection.execute(_FORGET_REPORTS, {"these": report_ids})
    studies = connection.scalars(_STUDIES_WITH_JOBS, {"these": report_ids}).all()
    if studies:
        _compare(connection, list(studies))


def compare_jobs(connection: Connection, study_uid: str) -> None:
    """After a change of what models found in a study."""
    take_turn(connection)
    _compare(connection, [study_uid])
    patients = list(connection.scalars(_PATIENTS, {"these": [study_uid]}))
    connection.execute(_FORGET_CHANGES, {"these": patients})
    connection.execute(_MAKE_CHANGES, {"these": patients})


def _compare(connection: Connection, studies: Sequence[str]) -> None:
    connection.execute(_FORGET, {"these": studies})
    connection.execute(_MAKE, {"these": studies})


def compare_all(connection: Connection) -> None:
    """All studies that models have looked at."""
    if connection.dialect.name == "postgresql":
        # With statistics from before a large import the join of the two views takes minutes.
        connection.execute(text(_ANALYZE))
    connection.execute(text("DELETE FROM comparison"))
    connection.execute(text(_COMPARE.format("1 = 1")))
    connection.execute(text("DELETE FROM measured_change"))
    connection.execute(text(_CHANGED.format("1 = 1")))
