-- view: recist_sum
-- version: 1
-- purpose: The sum of diameters of a patient's target lesions (see recist_target) in each CT, its change since the first one and since the least sum before (RECIST 1.1). No response is derived. A lesion that was not marked again is not counted as gone: changes are null then, and a person has to look.
-- column patient: PatientID
-- column algorithm: Its name
-- column study_uid: The study
-- column study_date: YYYYMMDD
-- column nth: 1: the first CT
-- column targets: Target lesions of the patient
-- column found: Of these in this study
-- column sum_mm: Sum of the diameters of those found; null where none was
-- column new_lesions: Lesions that no earlier study shows; 0 for the first
-- column baseline_mm: Sum in the first CT
-- column nadir_mm: Least complete sum of the studies before
-- column percent_of_baseline: Change since the first CT; null unless all targets were found
-- column percent_of_nadir: Change since the least sum before; null unless all targets were found
-- column job_id: The job
SELECT patient, algorithm, study_uid, study_date, nth, targets, found, sum_mm, new_lesions,
  baseline_mm, nadir_mm,
  CASE WHEN found = targets AND nth > 1
    THEN 100.0 * (sum_mm - baseline_mm) / nullif(baseline_mm, 0) END AS percent_of_baseline,
  CASE WHEN found = targets AND nth > 1
    THEN 100.0 * (sum_mm - nadir_mm) / nullif(nadir_mm, 0) END AS percent_of_nadir, job_id
FROM (
  SELECT v.*, min(CASE WHEN found = targets THEN sum_mm END) OVER (
      PARTITION BY patient, algorithm ORDER BY nth
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS nadir_mm
  FROM (
    SELECT c.patient, c.algorithm, c.study_uid, c.study_date, c.job_id, c.nth,
      (SELECT count(*) FROM recist_target t
        WHERE t.patient = c.patient AND t.algorithm = c.algorithm) AS targets,
      (SELECT sum(t.baseline_mm) FROM recist_target t
        WHERE t.patient = c.patient AND t.algorithm = c.algorithm) AS baseline_mm,
      (SELECT count(*) FROM recist_target t
        JOIN lesion l ON l.tracking_uid = t.tracking_uid AND l.job_id = c.job_id
        WHERE t.patient = c.patient AND t.algorithm = c.algorithm) AS found,
      (SELECT sum(CASE WHEN t.is_node = 1 THEN l.short_axis_mm ELSE l.long_axis_mm END)
        FROM recist_target t
        JOIN lesion l ON l.tracking_uid = t.tracking_uid AND l.job_id = c.job_id
        WHERE t.patient = c.patient AND t.algorithm = c.algorithm) AS sum_mm,
      (SELECT count(*) FROM lesion l
        WHERE l.job_id = c.job_id AND c.nth > 1 AND l.prior_job_id IS NULL) AS new_lesions
    FROM (
      SELECT s.patient_id AS patient, j.algorithm, j.study_uid, s.study_date, j.job_id,
        row_number() OVER (PARTITION BY s.patient_id, j.algorithm
          ORDER BY s.study_date, s.study_time, s.study_uid) AS nth
      FROM latest_job j
      JOIN study s ON s.study_uid = j.study_uid
      JOIN body_map b ON b.job_id = j.job_id
      WHERE s.patient_id <> '') c) v) w
