-- title: Images that reports point to for a finding
-- description: Image references in sentences on a label.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT i.report_id,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = r.study_uid) AS accession_number,
  r.study_uid, i.series AS series_number, i.image AS image_number, m.assertion,
  substr(p.text, m.sentence_start + 1, m.sentence_end - m.sentence_start) AS sentence
FROM image_reference i
JOIN report r ON r.id = i.report_id AND r.version_id = i.version_id
JOIN mention m
  ON m.version_id = i.version_id AND m.report_id = i.report_id AND m.number = i.mention
JOIN report_part p ON p.report_id = m.report_id AND p.number = m.part
WHERE i.label = :label AND r.is_current AND r.status <> 'cancelled'
ORDER BY i.report_id DESC
