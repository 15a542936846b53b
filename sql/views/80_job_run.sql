-- view: job_run
-- version: 1
-- purpose: Jobs with how long they waited and ran.
-- column job_id: The job
-- column study_uid: The study
-- column algorithm: Its name
-- column rule_name: The rule that called for it
-- column state: queued, running, succeeded, refused, failed, cancelled or dismissed
-- column reason: Why it was refused, failed or is tried again
-- column priority: 1 stat, 10 high, 100 routine, 1000 low
-- column attempt: Try of this run
-- column created_at: When it was made
-- column waited_s: Seconds until its last try began
-- column ran_s: Seconds that try took
-- column device: What it ran on
-- sqlite:
SELECT j.id AS job_id, j.study_uid, j.algorithm, j.rule_name, j.state, j.reason, j.priority,
  j.attempt, j.created_at, (julianday(j.started_at) - julianday(j.created_at)) * 86400 AS waited_s, (julianday(j.finished_at) - julianday(j.started_at)) * 86400 AS ran_s, j.device
FROM job j
-- postgresql:
SELECT j.id AS job_id, j.study_uid, j.algorithm, j.rule_name, j.state, j.reason, j.priority,
  j.attempt, j.created_at, CAST(extract(epoch FROM j.started_at - j.created_at) AS double precision) AS waited_s, CAST(extract(epoch FROM j.finished_at - j.started_at) AS double precision) AS ran_s, j.device
FROM job j
