-- title: Reports that could not be read, and why
-- description: Empty, binary, too long, of another language.
SELECT report_id, source, received_at, flags
FROM current_report
WHERE flags IS NOT NULL
ORDER BY report_id DESC
