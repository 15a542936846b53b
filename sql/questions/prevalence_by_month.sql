-- title: How often a finding is reported, month by month
-- description: Reports in which a label is positive, negative or uncertain, and its share among all reports of the month.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT r.month, count(*) AS reports,
  sum(CASE WHEN l.value = 1 THEN 1 ELSE 0 END) AS positive,
  sum(CASE WHEN l.value = 0 THEN 1 ELSE 0 END) AS negative,
  sum(CASE WHEN l.value = -1 THEN 1 ELSE 0 END) AS uncertain,
  round(100.0 * sum(CASE WHEN l.value = 1 THEN 1 ELSE 0 END) / count(*), 2) AS positive_percent
FROM (
  SELECT id, version_id, substr(study_date, 1, 4) || '-' || substr(study_date, 5, 2) AS month
  FROM report WHERE is_current AND status <> 'cancelled' AND version_id IS NOT NULL) r
LEFT JOIN report_label l
  ON l.version_id = r.version_id AND l.report_id = r.id AND l.name = :label
GROUP BY r.month
ORDER BY r.month
