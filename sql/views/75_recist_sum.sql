-- view: recist_sum
-- version: 2
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
-- Each level has one window: only so a condition on the patient reaches the innermost one on SQLite.
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
    SELECT *
    FROM (
      SELECT u.*, row_number() OVER (PARTITION BY patient, algorithm, job_id ORDER BY finding_id)
        AS line
      FROM (
        SELECT c.*, count(counts_mm) OVER job AS found, sum(counts_mm) OVER job AS sum_mm,
          sum(CASE WHEN nth > 1 THEN is_new ELSE 0 END) OVER job AS new_lesions
        FROM (
          SELECT t.*, CASE is_node_target WHEN 1 THEN short_axis_mm WHEN 0 THEN long_axis_mm END
            AS counts_mm
          FROM (
            SELECT a.*, max(CASE WHEN target_mm IS NOT NULL THEN is_node END) OVER (
                PARTITION BY patient, algorithm, tracking_uid) AS is_node_target
            FROM (
              SELECT l.patient, l.algorithm, l.study_uid, l.study_date, l.job_id, l.is_mapped,
                l.nth, l.finding_id, l.tracking_uid, l.is_node, l.is_new, l.short_axis_mm,
                l.long_axis_mm, l.baseline_mm AS target_mm,
                count(l.baseline_mm) OVER patients AS targets,
                sum(l.baseline_mm) OVER patients AS baseline_mm
              FROM recist_lesion l
              WINDOW patients AS (PARTITION BY l.patient, l.algorithm)) a) t) c
        WINDOW job AS (PARTITION BY patient, algorithm, job_id)) u) g
    WHERE line = 1 AND is_mapped = 1) v) w
