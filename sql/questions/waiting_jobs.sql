-- title: Jobs that wait or run
-- description: Oldest first, most urgent first.
SELECT job_id,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = job_run.study_uid) AS accession_number,
  study_uid, algorithm, state, priority, attempt, created_at, reason
FROM job_run
WHERE state IN ('queued', 'running')
ORDER BY priority, created_at
