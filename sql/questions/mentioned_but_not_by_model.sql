-- title: Reports that mention a finding while the model says none
-- description: Studies whose report has a label positive or uncertain and whose model result is negative.
-- parameter label: text = pneumothorax; label of the reports
SELECT (SELECT s.accession_number FROM study s WHERE s.study_uid = a.study_uid) AS accession_number,
  a.study_uid, a.report_id, a.report_value, a.score, a.algorithm,
  (SELECT p.sentence FROM positive_sentence p
    WHERE p.report_id = a.report_id AND p.label = a.label) AS sentence
FROM ai_versus_report a
WHERE a.label = :label AND a.ai_value = 0 AND a.report_value IN (1, -1)
ORDER BY a.score
