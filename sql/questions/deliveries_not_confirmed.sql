-- title: Results that no destination has proven to keep
-- description: Waiting, sent without proof, refused or given up.
SELECT destination, state, kind, study_uid, result_uid, attempt, status, reason, created_at
FROM delivered
WHERE state IN ('waiting', 'sent-unconfirmed', 'refused', 'given-up')
ORDER BY created_at
