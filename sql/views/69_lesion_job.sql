-- view: lesion_job
-- version: 1
-- purpose: As latest_job, for questions that begin with a patient or a lesion.
-- column job_id: The job
-- column study_uid: The study
-- column algorithm: Its name
SELECT j.id AS job_id, j.study_uid, j.algorithm
FROM job j
-- SQLite takes an equality of an index for rare; nearly all jobs have succeeded. This one is in no index.
WHERE j.state || '' = 'succeeded' AND NOT EXISTS (
  SELECT 1 FROM job o
  WHERE o.study_uid = j.study_uid AND o.algorithm = j.algorithm AND o.state = 'succeeded'
    AND (o.finished_at > j.finished_at OR (o.finished_at = j.finished_at AND o.id > j.id)))
