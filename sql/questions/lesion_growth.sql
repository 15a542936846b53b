-- title: Lesions that grew most
-- description: Lesions that an earlier CT shows too, the largest growth of the long axis first, with the time between and the doubling time.
-- parameter type: text = any; part of the lesion's type, e.g. lymph
-- parameter least_percent: number = 20; growth of the long axis from which on
SELECT patient, prior_date, study_date, days, type, site, name, prior_long_axis_mm, long_axis_mm,
  long_axis_percent, volume_percent, doubling_days,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = lesion_growth.study_uid) AS accession_number,
  study_uid
FROM lesion_growth
WHERE finding_id IN (SELECT l.finding_id FROM lesion l WHERE l.long_axis_percent >= :least_percent)
  AND (:type = 'any' OR lower(type) LIKE '%' || lower(:type) || '%')
ORDER BY long_axis_percent DESC
