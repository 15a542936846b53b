-- title: Studies that no algorithm has a result for
-- description: Closed studies without a job that succeeded.
SELECT (SELECT s.accession_number FROM study s WHERE s.study_uid = c.study_uid) AS accession_number,
  c.study_uid, c.study_date, c.modalities, c.description
FROM cohort c
WHERE NOT EXISTS (
  SELECT 1 FROM job j WHERE j.study_uid = c.study_uid AND j.state = 'succeeded')
ORDER BY c.study_date DESC
