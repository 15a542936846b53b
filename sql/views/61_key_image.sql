-- view: key_image
-- version: 1
-- purpose: Images that sentences of reports point to, found in the study where that is sure.
-- column report_id: Number of the report
-- column study_uid: Its study; null: not known
-- column series_number: As written; null: none was
-- column image_number: As written
-- column label: Label of the mention beside it
-- column concept: Lexicon id
-- column assertion: present, absent or uncertain
-- column sentence: The sentence
-- sqlite:
SELECT i.report_id, r.study_uid, i.series AS series_number, i.image AS image_number, m.label,
  m.concept, m.assertion,
  substr(p.text, m.sentence_start + 1, m.sentence_end - m.sentence_start) AS sentence
FROM image_reference i
JOIN report r ON r.id = i.report_id AND r.version_id = i.version_id
JOIN mention m
  ON m.version_id = i.version_id AND m.report_id = i.report_id AND m.number = i.mention
JOIN report_part p ON p.report_id = m.report_id AND p.number = m.part
WHERE r.is_current AND r.status <> 'cancelled'
-- postgresql:
SELECT i.report_id, r.study_uid, i.series AS series_number, i.image AS image_number, m.label,
  m.concept, m.assertion,
  substr(p.text, m.sentence_start + 1, m.sentence_end - m.sentence_start) AS sentence
FROM image_reference i
JOIN report r ON r.id = i.report_id AND r.version_id = i.version_id
JOIN mention m
  ON m.version_id = i.version_id AND m.report_id = i.report_id AND m.number = i.mention
JOIN report_part p ON p.report_id = m.report_id AND p.number = m.part
WHERE r.is_current AND r.status <> 'cancelled'
