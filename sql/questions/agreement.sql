-- title: How well models and reports agree
-- description: Counts of agreement and disagreement for each label and algorithm.
SELECT algorithm, label, count(*) AS studies,
  sum(CASE WHEN verdict = 'agree' THEN 1 ELSE 0 END) AS agree,
  sum(CASE WHEN verdict = 'ai-only' THEN 1 ELSE 0 END) AS ai_only,
  sum(CASE WHEN verdict = 'report-only' THEN 1 ELSE 0 END) AS report_only,
  sum(CASE WHEN verdict = 'report-unsure' THEN 1 ELSE 0 END) AS report_unsure
FROM ai_versus_report
GROUP BY algorithm, label
ORDER BY algorithm, label
