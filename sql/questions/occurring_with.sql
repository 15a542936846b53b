-- title: What occurs together with a finding
-- description: Labels positive in the reports in which one label is positive.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT label, sum(reports) AS reports
FROM (
  SELECT second AS label, reports FROM label_together WHERE in_force AND first = :label
  UNION ALL
  SELECT first AS label, reports FROM label_together WHERE in_force AND second = :label) t
GROUP BY label
HAVING sum(reports) > 0
ORDER BY sum(reports) DESC, label
