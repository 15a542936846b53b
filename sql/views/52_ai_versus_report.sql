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
SELECT study_uid, report_id, label, report_value, ai_value, score, algorithm, job_id, verdict
FROM comparison
