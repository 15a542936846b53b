-- title: Jobs that wait or run
-- description: Oldest first, most urgent first.
SELECT job_id, study_uid, algorithm, state, priority, attempt, created_at, reason
FROM job_run
WHERE state IN ('queued', 'running')
ORDER BY priority, created_at
