-- view: ai_label
-- version: 1
-- purpose: What models say of the labels of reports: classes, and a cardiothoracic ratio above .5 as cardiomegaly.
-- column study_uid: The study
-- column job_id: The job
-- column algorithm: Its name
-- column label: As in reports, e.g. effusion
-- column value: 1 positive, 0 negative
-- column score: Probability, or the ratio
SELECT j.study_uid, j.job_id, j.algorithm, lower(replace(f.name, ' ', '_')) AS label,
  CASE WHEN f.text = 'positive' THEN 1 ELSE 0 END AS value, f.score
FROM latest_job j
JOIN finding f ON f.job_id = j.job_id AND f.kind = 'class'
UNION ALL
SELECT j.study_uid, j.job_id, j.algorithm, 'cardiomegaly' AS label,
  CASE WHEN m.value > 0.5 THEN 1 ELSE 0 END AS value, m.value AS score
FROM latest_job j
JOIN finding f ON f.job_id = j.job_id
JOIN measurement m
  ON m.finding_id = f.id AND m.code_scheme = '99DICOMNODE' AND m.code_value = 'ctr'
