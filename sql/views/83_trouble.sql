-- view: trouble
-- version: 1
-- purpose: What needs a person: jobs, deliveries and objects that did not come through.
-- column what: job, delivery or object
-- column id: Job, SOPInstanceUID or number in quarantine
-- column study_uid: The study, where known
-- column since: Since when
-- column reason: Why
-- sqlite:
SELECT 'job' AS what, j.id AS id, j.study_uid, coalesce(j.finished_at, j.created_at) AS since,
  j.reason
FROM job j WHERE j.state IN ('failed', 'refused')
UNION ALL
SELECT 'delivery', d.result_uid, t.study_uid, coalesce(d.sent_at, d.created_at),
  d.destination || ': ' || d.state || ' ' || d.reason
FROM delivery d JOIN result t ON t.sop_instance_uid = d.result_uid
WHERE d.state IN ('refused', 'given-up')
UNION ALL
SELECT 'object', CAST(q.id AS text), NULL, q.at, q.kind || ': ' || q.reason
FROM quarantine q WHERE q.dismissed_at IS NULL
-- postgresql:
SELECT 'job' AS what, j.id AS id, j.study_uid, coalesce(j.finished_at, j.created_at) AS since,
  j.reason
FROM job j WHERE j.state IN ('failed', 'refused')
UNION ALL
SELECT 'delivery', d.result_uid, t.study_uid, coalesce(d.sent_at, d.created_at),
  d.destination || ': ' || d.state || ' ' || d.reason
FROM delivery d JOIN result t ON t.sop_instance_uid = d.result_uid
WHERE d.state IN ('refused', 'given-up')
UNION ALL
SELECT 'object', CAST(q.id AS text), NULL, q.at, q.kind || ': ' || q.reason
FROM quarantine q WHERE q.dismissed_at IS NULL
