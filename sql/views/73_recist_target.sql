-- view: recist_target
-- version: 2
-- purpose: The lesions of a patient's first CT that RECIST 1.1 would measure: at least 10 mm long (lymph nodes: 15 mm short axis), at most two an organ and five in all, the largest. Chosen by size alone, from what one algorithm marked; a reader may choose others.
-- column patient: PatientID
-- column algorithm: Its name
-- column tracking_uid: The lesion
-- column name: As in the SR of the first study
-- column organ: Its site, else its type; lymph nodes are one organ wherever they lie, and so are both of a pair
-- column is_node: 1: its short axis counts
-- column baseline_mm: The diameter that counts, then
-- column study_uid: The first study
SELECT patient, algorithm, tracking_uid, name, organ, is_node, baseline_mm, study_uid
FROM (
  SELECT o.*, row_number() OVER (
      PARTITION BY patient, algorithm ORDER BY baseline_mm DESC, tracking_uid) AS among_all
  FROM (
    SELECT m.*, row_number() OVER (
        PARTITION BY patient, algorithm, organ ORDER BY baseline_mm DESC, tracking_uid) AS in_organ
    FROM (
      SELECT b.patient, b.algorithm, b.tracking_uid, b.name, b.study_uid,
        CASE WHEN replace(lower(b.type), 'lymph', '') <> lower(b.type) THEN 'Lymph node'
          ELSE coalesce(b.site, b.type) END AS organ,
        CASE WHEN replace(lower(b.type), 'lymph', '') <> lower(b.type) THEN 1 ELSE 0 END AS is_node,
        CASE WHEN replace(lower(b.type), 'lymph', '') <> lower(b.type) THEN b.short_axis_mm ELSE b.long_axis_mm END
          AS baseline_mm
      FROM (
        SELECT n.*, dense_rank() OVER (
            PARTITION BY patient, algorithm ORDER BY study_date, study_time, study_uid) AS nth
        FROM lesion_seen n
        WHERE patient <> '') b
      WHERE b.nth = 1) m
    WHERE baseline_mm >= CASE WHEN is_node = 1 THEN 15 ELSE 10 END) o
  WHERE in_organ <= 2) t
WHERE among_all <= 5
