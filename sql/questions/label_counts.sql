-- title: How often each finding is reported
-- description: Every label with its positive, negative and uncertain reports.
SELECT l.name AS label,
  sum(CASE WHEN l.value = 1 THEN 1 ELSE 0 END) AS positive,
  sum(CASE WHEN l.value = 0 THEN 1 ELSE 0 END) AS negative,
  sum(CASE WHEN l.value = -1 THEN 1 ELSE 0 END) AS uncertain
FROM report_label l
JOIN report r ON r.id = l.report_id AND r.version_id = l.version_id
WHERE r.is_current AND r.status <> 'cancelled'
GROUP BY l.name
ORDER BY positive DESC
