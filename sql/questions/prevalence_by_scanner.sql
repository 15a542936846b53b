-- title: How often a finding is reported, scanner by scanner
-- description: Reports with a known study in which a label is positive, by station.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT nullif(station, '') AS station, nullif(manufacturer, '') AS manufacturer,
  nullif(model, '') AS model, sum(positive + negative + uncertain) AS reports_mentioning,
  sum(positive) AS positive
FROM label_scanner
WHERE in_force AND label = :label
GROUP BY station, manufacturer, model
HAVING sum(positive + negative + uncertain) > 0
ORDER BY sum(positive) DESC, station
