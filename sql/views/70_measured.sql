-- view: measured
-- version: 2
-- purpose: Every measurement of the last job of each algorithm, with the study's date: trends over time. `patient` is the PatientID.
-- column patient: PatientID
-- column study_uid: The study
-- column study_date: YYYYMMDD
-- column algorithm: Its name
-- column finding: What was measured, e.g. right lung
-- column kind: segment, lesion (numbered anew in each study: see lesion_seen), measurement or class
-- column measure: E.g. Volume
-- column derivation: Mean, Standard Deviation, ...; null: the value itself
-- column value: The number
-- column unit: UCUM
-- column code: Scheme and code of the measure
-- column job_id: The job
SELECT s.patient_id AS patient, j.study_uid, s.study_date, j.algorithm, f.name AS finding,
  f.kind, m.code_meaning AS measure, m.derivation, m.value, m.unit,
  m.code_scheme || ' ' || m.code_value AS code, j.job_id
FROM latest_job j
JOIN study s ON s.study_uid = j.study_uid
JOIN finding f ON f.job_id = j.job_id
JOIN measurement m ON m.finding_id = f.id
