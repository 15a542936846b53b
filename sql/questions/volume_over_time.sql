-- title: A volume over time, for one patient
-- description: Volumes of a structure in each study of a patient, e.g. a lung or the pancreas.
-- parameter patient: text; PatientID
-- parameter finding: text = lung; part of the structure's name
SELECT study_date,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = measured.study_uid) AS accession_number,
  study_uid, finding, value, unit, algorithm
FROM measured
WHERE study_uid IN (SELECT s.study_uid FROM study s WHERE s.patient_id = :patient)
  AND measure = 'Volume' AND lower(finding) LIKE '%' || lower(:finding) || '%'
ORDER BY finding, study_date
