-- view: current_report
-- version: 1
-- purpose: Every report that counts: the latest version of each, not withdrawn. Names no patient.
-- column report_id: Number of the report
-- column source: sr, hl7, fhir or bulk
-- column status: preliminary, final or corrected
-- column study_uid: Study it belongs to; null: not known
-- column matched_by: study-uid, accession or patient-and-date
-- column match_note: Why it has no study
-- column study_date: YYYYMMDD, of the study or as the report states it
-- column month: YYYY-MM of that date
-- column modality: As the report states it
-- column referring_unit: Ward or clinic that asked
-- column received_at: When it came
-- column version_id: Version of the miner in force; null: not mined yet
-- column is_normal: True if there is text and no abnormal finding of any kind is asserted
-- column flags: Why it could not be read; null: it could
SELECT r.id AS report_id, r.source, r.status, r.study_uid, r.matched_by, r.match_note,
  coalesce(nullif(s.study_date, ''), r.study_date) AS study_date,
  substr(coalesce(nullif(s.study_date, ''), r.study_date), 1, 4) || '-'
    || substr(coalesce(nullif(s.study_date, ''), r.study_date), 5, 2) AS month,
  r.modality, r.referring_unit, r.received_at, r.version_id, g.is_normal, g.flags
FROM report r
LEFT JOIN study s ON s.study_uid = r.study_uid
LEFT JOIN report_reading g ON g.version_id = r.version_id AND g.report_id = r.id
WHERE r.is_current AND r.status <> 'cancelled'
