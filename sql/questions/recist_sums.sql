-- title: One patient's sum of diameters
-- description: Sum of the target lesions (RECIST 1.1) in each CT, its change since the first and since the least one before, and new lesions. Research use only.
-- parameter patient: text; PatientID
SELECT study_date, algorithm, targets, found, sum_mm, percent_of_baseline, nadir_mm,
  percent_of_nadir, new_lesions,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = recist_sum.study_uid) AS accession_number,
  study_uid
FROM recist_sum
WHERE patient = :patient
ORDER BY algorithm, nth
