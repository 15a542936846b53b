-- title: Where models and reports disagree
-- description: Studies on which a model's label and the report's differ, with the sentence where there is one.
-- parameter verdict: text = any; which kind; one of any, ai-only, report-only, report-unsure
SELECT a.verdict, a.label,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = a.study_uid) AS accession_number,
  a.study_uid, a.report_id, a.score, a.algorithm,
  (SELECT p.sentence FROM positive_sentence p
    WHERE p.report_id = a.report_id AND p.label = a.label) AS sentence
FROM ai_versus_report a
WHERE a.verdict <> 'agree'
  AND a.verdict BETWEEN CASE WHEN :verdict = 'any' THEN 'ai-only' ELSE :verdict END
    AND CASE WHEN :verdict = 'any' THEN 'report-unsure' ELSE :verdict END
ORDER BY a.verdict DESC, a.label DESC, a.score DESC
