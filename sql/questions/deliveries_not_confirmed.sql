-- title: Results that no destination has proven to keep
-- description: Waiting, sent without proof, refused or given up.
SELECT destination, state, kind,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = delivered.study_uid) AS accession_number,
  study_uid, result_uid, attempt, status, reason, created_at
FROM delivered
WHERE state IN ('waiting', 'sent-unconfirmed', 'refused', 'given-up')
ORDER BY created_at
