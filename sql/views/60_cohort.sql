-- view: cohort
-- version: 1
-- purpose: Studies by what a researcher asks for first. Age in years; no name, no patient ID.
-- column study_uid: The study
-- column study_date: YYYYMMDD
-- column age: At the study, in years; null: not known
-- column sex: F, M or O
-- column description: StudyDescription
-- column modalities: Separated by commas
-- column instances: How many
-- column reports: Reports that count
-- column has_seg: 1 if a segmentation was made
-- column has_sr: 1 if a structured report was made
-- sqlite:
SELECT s.study_uid, s.study_date,
  CASE WHEN length(s.study_date) = 8 AND length(s.patient_birth_date) = 8
    THEN (CAST(s.study_date AS integer) - CAST(s.patient_birth_date AS integer)) / 10000 END AS age,
  s.patient_sex AS sex, s.description,
  (SELECT group_concat(DISTINCT e.modality) FROM series e WHERE e.study_uid = s.study_uid) AS modalities,
  s.instance_count AS instances,
  (SELECT count(*) FROM report r
    WHERE r.study_uid = s.study_uid AND r.is_current AND r.status <> 'cancelled') AS reports,
  CASE WHEN EXISTS (SELECT 1 FROM result t WHERE t.study_uid = s.study_uid AND t.kind = 'SEG')
    THEN 1 ELSE 0 END AS has_seg,
  CASE WHEN EXISTS (SELECT 1 FROM result t WHERE t.study_uid = s.study_uid AND t.kind = 'SR')
    THEN 1 ELSE 0 END AS has_sr
FROM study s
-- postgresql:
SELECT s.study_uid, s.study_date,
  CASE WHEN length(s.study_date) = 8 AND length(s.patient_birth_date) = 8
    THEN (CAST(s.study_date AS integer) - CAST(s.patient_birth_date AS integer)) / 10000 END AS age,
  s.patient_sex AS sex, s.description,
  (SELECT string_agg(DISTINCT e.modality, ',') FROM series e WHERE e.study_uid = s.study_uid) AS modalities,
  s.instance_count AS instances,
  (SELECT count(*) FROM report r
    WHERE r.study_uid = s.study_uid AND r.is_current AND r.status <> 'cancelled') AS reports,
  CASE WHEN EXISTS (SELECT 1 FROM result t WHERE t.study_uid = s.study_uid AND t.kind = 'SEG')
    THEN 1 ELSE 0 END AS has_seg,
  CASE WHEN EXISTS (SELECT 1 FROM result t WHERE t.study_uid = s.study_uid AND t.kind = 'SR')
    THEN 1 ELSE 0 END AS has_sr
FROM study s
