-- title: How often a finding is reported, unit by unit
-- description: Reports in which a label is positive, by the ward or clinic that asked.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT referring_unit, sum(positive + negative + uncertain) AS reports_mentioning,
  sum(positive) AS positive
FROM label_unit
WHERE in_force AND label = :label
GROUP BY referring_unit
HAVING sum(positive + negative + uncertain) > 0
ORDER BY sum(positive) DESC, referring_unit
