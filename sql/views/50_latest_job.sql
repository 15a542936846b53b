-- view: latest_job
-- version: 1
-- purpose: The last job of each algorithm on each study that succeeded.
-- column job_id: The job
-- column study_uid: The study
-- column algorithm: Its name
-- column algorithm_version: As run
-- column model_digest: SHA-256 over the model files
-- column finished_at: When it ended
SELECT j.id AS job_id, j.study_uid, j.algorithm, j.algorithm_version, j.model_digest, j.finished_at
FROM job j
WHERE j.state = 'succeeded' AND NOT EXISTS (
  SELECT 1 FROM job o
  WHERE o.study_uid = j.study_uid AND o.algorithm = j.algorithm AND o.state = 'succeeded'
    AND (o.finished_at > j.finished_at OR (o.finished_at = j.finished_at AND o.id > j.id)))
