-- title: How often a finding is reported, scanner by scanner
-- description: Reports with a known study in which a label is positive, by station.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT s.station, s.manufacturer, s.model, count(*) AS reports_mentioning,
  sum(CASE WHEN l.value = 1 THEN 1 ELSE 0 END) AS positive
FROM mentioned_label l
JOIN scanner s ON s.study_uid = l.study_uid
WHERE l.label = :label
GROUP BY s.station, s.manufacturer, s.model
ORDER BY positive DESC
