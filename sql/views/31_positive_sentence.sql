-- view: positive_sentence
-- version: 1
-- purpose: Positive labels of reports that count, each with the sentence that decides.
-- column report_id: Number of the report
-- column study_uid: Its study; null: not known
-- column label: E.g. effusion
-- column words: The words
-- column sentence: Their sentence
-- column rule: Deciding rule; empty: nothing speaks against the mention
-- column side: left, right or bilateral
-- column severity: E.g. mild
-- column month: YYYY-MM the report states
SELECT l.report_id, r.study_uid, l.name AS label,
  substr(p.text, m.char_start + 1, m.char_end - m.char_start) AS words,
  substr(p.text, m.sentence_start + 1, m.sentence_end - m.sentence_start) AS sentence,
  m.rule, m.side, m.severity,
  substr(r.study_date, 1, 4) || '-' || substr(r.study_date, 5, 2) AS month
FROM report_label l
JOIN report r ON r.id = l.report_id AND r.version_id = l.version_id
JOIN mention m
  ON m.version_id = l.version_id AND m.report_id = l.report_id AND m.number = l.mention
JOIN report_part p ON p.report_id = m.report_id AND p.number = m.part
WHERE l.value = 1 AND r.is_current AND r.status <> 'cancelled'
