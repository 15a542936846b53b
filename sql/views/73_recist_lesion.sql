-- view: recist_lesion
-- version: 1
-- purpose: What recist_target and recist_sum begin with: every lesion of every CT, and one line without a lesion for a CT that shows none. A condition on the patient is met before anything else is read.
-- column patient: PatientID
-- column algorithm: Its name
-- column study_uid: The study
-- column study_date: YYYYMMDD
-- column job_id: The job
-- column is_mapped: 1: the CT can be laid on others, so it counts in sums
-- column nth: Of the patient's CTs that are mapped (or not); 1: the first
-- column finding_id: The finding; null: the CT shows no lesion
-- column tracking_uid: The lesion
-- column name: As in the SR of the study
-- column organ: Its site, else its type; lymph nodes are one organ wherever they lie, and so are both of a pair
-- column is_node: 1: its short axis counts
-- column long_axis_mm: Longest diameter on its slice
-- column short_axis_mm: Longest diameter at a right angle to it
-- column is_new: 1: no earlier study shows it
-- column baseline_mm: The diameter that counts, where this is the first CT with lesions and the lesion is a target; else null
SELECT patient, algorithm, study_uid, study_date, job_id, is_mapped, nth, finding_id, tracking_uid,
  name, organ, is_node, long_axis_mm, short_axis_mm, is_new,
  CASE WHEN is_kept = 1 AND among_all <= 5 THEN size_mm END AS baseline_mm
FROM (
  SELECT k.*, row_number() OVER (
      PARTITION BY patient, algorithm, is_kept ORDER BY size_mm DESC, tracking_uid) AS among_all
  FROM (
    SELECT o.*, CASE WHEN is_large = 1 AND in_organ <= 2 THEN 1 ELSE 0 END AS is_kept
    FROM (
      SELECT z.*, row_number() OVER (
          PARTITION BY patient, algorithm, is_large, organ ORDER BY size_mm DESC, tracking_uid)
          AS in_organ
      FROM (
        SELECT r.*, CASE WHEN has_lesion = 1 AND nth_with = 1
            AND size_mm >= CASE WHEN is_node = 1 THEN 15 ELSE 10 END THEN 1 ELSE 0 END AS is_large
        FROM (
          SELECT n.*, dense_rank() OVER (PARTITION BY patient, algorithm, has_lesion
              ORDER BY study_date, study_time, study_uid) AS nth_with
          FROM (
            SELECT m.*,
              CASE WHEN is_node = 1 THEN 'Lymph node' ELSE coalesce(site, type) END AS organ,
              CASE WHEN is_node = 1 THEN short_axis_mm ELSE long_axis_mm END AS size_mm,
              dense_rank() OVER (PARTITION BY patient, algorithm, is_mapped
                ORDER BY study_date, study_time, study_uid) AS nth
            FROM (
              SELECT s.patient_id AS patient, j.algorithm, j.study_uid, s.study_date, s.study_time,
                j.job_id, CASE WHEN b.job_id IS NULL THEN 0 ELSE 1 END AS is_mapped,
                l.finding_id, CASE WHEN l.finding_id IS NULL THEN 0 ELSE 1 END AS has_lesion,
                l.tracking_uid, f.name, f.code_meaning AS type, f.site_meaning AS site,
                CASE WHEN replace(lower(f.code_meaning), 'lymph', '') <> lower(f.code_meaning)
                  THEN 1 ELSE 0 END AS is_node,
                l.long_axis_mm, l.short_axis_mm,
                CASE WHEN l.finding_id IS NOT NULL AND l.prior_job_id IS NULL THEN 1 ELSE 0 END
                  AS is_new
              FROM lesion_job j
              JOIN study s ON s.study_uid = j.study_uid
              LEFT JOIN body_map b ON b.job_id = j.job_id
              LEFT JOIN lesion l ON l.job_id = j.job_id
              LEFT JOIN finding f ON f.id = l.finding_id
              WHERE s.patient_id <> '' AND (b.job_id IS NOT NULL OR l.finding_id IS NOT NULL)) m) n) r) z
      ) o) k) t
