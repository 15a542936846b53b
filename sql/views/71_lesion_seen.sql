-- view: lesion_seen
-- version: 2
-- purpose: Every lesion with two measured axes that the last job of each algorithm found: what, where, how large, and the Tracking UID that it keeps in later studies.
-- column finding_id: The finding
-- column patient: PatientID
-- column study_uid: The study
-- column study_date: YYYYMMDD
-- column study_time: As sent
-- column algorithm: Its name
-- column name: As in the SR of this study; numbered anew in each
-- column type: What it is, e.g. Lymph node structure
-- column type_code: Scheme and code
-- column site: Where it lies; null if unknown
-- column laterality: Left or Right
-- column score: 0 to 1
-- column tracking_uid: The same in every study that shows it
-- column long_axis_mm: Longest diameter on its slice
-- column short_axis_mm: Longest diameter at a right angle to it
-- column volume_ml: Where there is a mask
-- column sop_instance_uid: The image its axes are drawn on
-- column is_followed: 1 if an earlier study shows it too
-- column job_id: The job
SELECT l.finding_id, s.patient_id AS patient, j.study_uid, s.study_date, s.study_time, j.algorithm,
  f.name, f.code_meaning AS type, f.code_scheme || ' ' || f.code_value AS type_code,
  f.site_meaning AS site, f.laterality, f.score, l.tracking_uid, l.long_axis_mm, l.short_axis_mm,
  l.volume_ml, l.sop_instance_uid,
  CASE WHEN l.prior_job_id IS NULL THEN 0 ELSE 1 END AS is_followed, j.job_id
FROM lesion_job j
JOIN study s ON s.study_uid = j.study_uid
JOIN lesion l ON l.job_id = j.job_id
JOIN finding f ON f.id = l.finding_id
