-- view: lesion_growth
-- version: 1
-- purpose: Lesions that an earlier CT shows too: sizes now, and how they changed since the last study that showed them.
-- column finding_id: The finding
-- column patient: PatientID
-- column study_uid: The later study
-- column study_date: YYYYMMDD
-- column algorithm: Its name
-- column name: As in the SR of the later study
-- column type: What it is
-- column site: Where it lies
-- column tracking_uid: The same in both studies
-- column prior_study_uid: The earlier study
-- column prior_date: YYYYMMDD
-- column days: Between the studies
-- column long_axis_mm: Now
-- column short_axis_mm: Now
-- column volume_ml: Now
-- column prior_long_axis_mm: Then
-- column prior_volume_ml: Then
-- column long_axis_percent: Change of the long axis
-- column short_axis_percent: Change of the short axis
-- column volume_percent: Change of the volume
-- column doubling_days: Doubling time of the volume; null unless it grew
-- column agreement: How well the two CTs were laid on each other, -1 to 1
-- column job_id: The job on the later study
SELECT l.finding_id, n.patient, n.study_uid, n.study_date, n.algorithm, n.name, n.type, n.site,
  l.tracking_uid, p.study_uid AS prior_study_uid, s.study_date AS prior_date, l.days,
  l.long_axis_mm, l.short_axis_mm, l.volume_ml, e.long_axis_mm AS prior_long_axis_mm,
  e.volume_ml AS prior_volume_ml, l.long_axis_percent, l.short_axis_percent, l.volume_percent,
  l.doubling_days, u.agreement, l.job_id
FROM lesion_seen n
JOIN lesion l ON l.finding_id = n.finding_id
JOIN job p ON p.id = l.prior_job_id
JOIN study s ON s.study_uid = p.study_uid
LEFT JOIN lesion e ON e.job_id = l.prior_job_id AND e.tracking_uid = l.tracking_uid
LEFT JOIN follow_up u ON u.job_id = l.job_id AND u.prior_job_id = l.prior_job_id
