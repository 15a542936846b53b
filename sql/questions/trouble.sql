-- title: What needs a person
-- description: Failed or refused jobs, deliveries given up or refused, objects in quarantine.
SELECT what, id,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = trouble.study_uid) AS accession_number,
  study_uid, since, reason
FROM trouble ORDER BY since DESC
