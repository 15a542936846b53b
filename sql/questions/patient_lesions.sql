-- title: One patient's lesions over time
-- description: Each lesion in each CT, by its Tracking UID, with its sizes.
-- parameter patient: text; PatientID
SELECT tracking_uid, study_date, name, type, site, long_axis_mm, short_axis_mm, volume_ml, score,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = lesion_seen.study_uid) AS accession_number,
  study_uid
FROM lesion_seen
WHERE patient = :patient
ORDER BY tracking_uid, study_date, study_time
