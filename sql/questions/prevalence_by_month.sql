-- title: How often a finding is reported, month by month
-- description: Reports in which a label is positive, negative or uncertain, and its share among all reports of the month.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT r.month, r.reports, coalesce(l.positive, 0) AS positive, coalesce(l.negative, 0) AS negative,
  coalesce(l.uncertain, 0) AS uncertain,
  round(100.0 * coalesce(l.positive, 0) / r.reports, 2) AS positive_percent
FROM (
  SELECT month, sum(reports) AS reports FROM report_month
  WHERE in_force GROUP BY month HAVING sum(reports) > 0) r
LEFT JOIN (
  SELECT month, sum(positive) AS positive, sum(negative) AS negative, sum(uncertain) AS uncertain
  FROM label_month WHERE in_force AND label = :label GROUP BY month) l ON l.month = r.month
ORDER BY r.month
