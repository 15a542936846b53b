-- title: Reports whose study is not known, and why
-- description: Latest first.
SELECT id AS report_id, source, received_at, match_note
FROM report
WHERE study_uid IS NULL AND match_tried_at IS NOT NULL AND is_current
ORDER BY id DESC
