-- title: What occurs together with a finding
-- description: Labels positive in the reports in which one label is positive.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT b.name AS label, count(*) AS reports
FROM report_label a
JOIN report r ON r.id = a.report_id AND r.version_id = a.version_id
JOIN report_label b
  ON b.version_id = a.version_id AND b.report_id = a.report_id AND b.value = 1 AND b.name <> a.name
WHERE a.name = :label AND a.value = 1 AND r.is_current AND r.status <> 'cancelled'
GROUP BY b.name
ORDER BY reports DESC
