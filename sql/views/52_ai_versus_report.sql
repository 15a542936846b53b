-- view: ai_versus_report
-- version: 1
-- purpose: What models and reports say of the same label of one study.
-- column study_uid: The study
-- column report_id: Its report
-- column label: E.g. cardiomegaly
-- column report_value: 1, 0, -1; null: not mentioned
-- column ai_value: 1 or 0
-- column score: Probability, or the ratio
-- column algorithm: Its name
-- column job_id: The job
-- column verdict: agree, ai-only, report-only, or report-unsure; a finding that a report does not mention counts as denied
SELECT a.study_uid, l.report_id, a.label, l.value AS report_value, a.value AS ai_value, a.score,
  a.algorithm, a.job_id,
  CASE WHEN l.value = -1 THEN 'report-unsure'
    WHEN a.value = 1 AND coalesce(l.value, 0) = 0 THEN 'ai-only'
    WHEN a.value = 0 AND l.value = 1 THEN 'report-only'
    ELSE 'agree' END AS verdict
FROM ai_label a
JOIN study_label l ON l.study_uid = a.study_uid AND l.label = a.label
