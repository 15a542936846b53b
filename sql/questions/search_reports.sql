-- title: Search in the words of reports
-- description: Reports that contain words: two words mean both, "in quotes" a phrase.
-- parameter words: text; what to look for
-- sqlite:
SELECT r.id AS report_id,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = r.study_uid) AS accession_number,
  r.study_uid, p.name AS part,
  snippet(report_search, 0, '[', ']', ' ... ', 16) AS words
FROM report_search
JOIN report_part p ON p.id = report_search.rowid
JOIN report r ON r.id = p.report_id
WHERE report_search MATCH :words AND r.is_current
ORDER BY report_search.rowid DESC
-- postgresql:
SELECT r.id AS report_id,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = r.study_uid) AS accession_number,
  r.study_uid, p.name AS part,
  ts_headline('english', p.text, websearch_to_tsquery('english', :words),
    'StartSel=[, StopSel=], MaxWords=16, MinWords=8') AS words
FROM report_search s
JOIN report_part p ON p.id = s.part_id
JOIN report r ON r.id = p.report_id
WHERE s.words @@ websearch_to_tsquery('english', :words) AND r.is_current
ORDER BY s.part_id DESC
