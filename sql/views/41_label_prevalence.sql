-- view: label_prevalence
-- version: 1
-- purpose: How often each label is positive, negative or uncertain, by month, scanner and unit.
-- column label: E.g. effusion
-- column month: YYYY-MM the report states
-- column station: Scanner; null: no study is known
-- column referring_unit: Ward or clinic that asked
-- column positive: Reports
-- column negative: Reports
-- column uncertain: Reports
SELECT l.label, l.month, s.station, l.referring_unit,
  sum(CASE WHEN l.value = 1 THEN 1 ELSE 0 END) AS positive,
  sum(CASE WHEN l.value = 0 THEN 1 ELSE 0 END) AS negative,
  sum(CASE WHEN l.value = -1 THEN 1 ELSE 0 END) AS uncertain
FROM mentioned_label l
LEFT JOIN scanner s ON s.study_uid = l.study_uid
GROUP BY l.label, l.month, s.station, l.referring_unit
