-- title: Studies that fit
-- description: Studies by a positive label, sex, age, modality and date.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
-- parameter sex: text = any; F, M, O or any
-- parameter youngest: integer = 0; years
-- parameter oldest: integer = 200; years
-- parameter modality: text = any; e.g. CT, DX, or any
-- parameter since: date = 1900-01-01; study date, from
-- parameter until: date = 2999-12-31; study date, to
SELECT (SELECT s.accession_number FROM study s WHERE s.study_uid = c.study_uid) AS accession_number,
  c.study_uid, c.study_date, c.age, c.sex, c.modalities, c.description, c.has_seg, c.has_sr,
  p.report_id
FROM positive_study p
JOIN report r ON r.id = p.report_id AND r.version_id = p.version_id
JOIN cohort c ON c.study_uid = r.study_uid
WHERE p.label = :label AND p.study_date BETWEEN :since AND :until
  AND r.is_current AND r.status <> 'cancelled'
  AND (:sex = 'any' OR c.sex = :sex)
  AND (c.age IS NULL OR c.age BETWEEN :youngest AND :oldest)
  AND (:modality = 'any' OR EXISTS (
    SELECT 1 FROM series e WHERE e.study_uid = r.study_uid AND e.modality = :modality))
ORDER BY p.study_date DESC
