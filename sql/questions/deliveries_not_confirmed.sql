-- title: Results that no destination has proven to keep
-- description: Waiting, sent without proof, refused or given up.
SELECT destination, state, kind, study_uid, result_uid, attempt, status, reason, created_at
FROM delivered
WHERE state NOT IN ('confirmed', 'dismissed')
ORDER BY created_at
