-- title: How often a finding is reported, unit by unit
-- description: Reports in which a label is positive, by the ward or clinic that asked.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT l.referring_unit, count(*) AS reports_mentioning,
  sum(CASE WHEN l.value = 1 THEN 1 ELSE 0 END) AS positive
FROM mentioned_label l
WHERE l.label = :label
GROUP BY l.referring_unit
ORDER BY positive DESC
