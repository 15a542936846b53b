-- title: Images that reports point to for a finding
-- description: Image references in sentences on a label.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT report_id, study_uid, series_number, image_number, assertion, sentence
FROM key_image
WHERE label = :label
ORDER BY report_id DESC
