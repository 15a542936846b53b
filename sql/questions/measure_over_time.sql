-- title: A measurement over time, for one patient
-- description: One measurement of one structure in each study of a patient, with the change since the study before, e.g. the volume of the pancreas.
-- parameter patient: text; PatientID
-- parameter measure: text = Volume; name of the measure, e.g. Volume or Attenuation Coefficient
-- parameter finding: text = pancreas; part of the structure's name
SELECT study_date, finding, measure, derivation, value, unit,
  round(CAST(100.0 * (value - before) / nullif(before, 0) AS numeric), 1) AS percent_since_before,
  algorithm,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = m.study_uid) AS accession_number,
  study_uid
FROM (
  SELECT study_date, study_uid, algorithm, finding, measure, derivation, value, unit,
    lag(value) OVER (PARTITION BY algorithm, finding, measure, derivation, unit
      ORDER BY study_date, study_uid) AS before
  FROM measured
  WHERE study_uid IN (SELECT s.study_uid FROM study s WHERE s.patient_id = :patient)
    AND kind <> 'lesion' AND lower(measure) = lower(:measure)
    AND lower(finding) LIKE '%' || lower(:finding) || '%') m
ORDER BY algorithm, finding, derivation, study_date
