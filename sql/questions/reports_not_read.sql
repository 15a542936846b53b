-- title: Reports that could not be read, and why
-- description: Empty, binary, too long, of another language.
SELECT g.report_id, r.source, r.received_at, g.flags
FROM report_reading g
JOIN report r ON r.id = g.report_id AND r.version_id = g.version_id
WHERE g.flags IS NOT NULL AND r.is_current AND r.status <> 'cancelled'
ORDER BY g.report_id DESC
