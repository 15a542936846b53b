-- title: Reports that were odd when they came, and how they were taken
-- description: Latest first.
SELECT id AS report_id, source, received_at, remarks
FROM report
WHERE remarks IS NOT NULL
ORDER BY id DESC
