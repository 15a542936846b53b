-- view: mention_sentence
-- version: 1
-- purpose: Every mention of a finding in a report that counts, with its words and its sentence.
-- column report_id: Number of the report
-- column study_uid: Its study; null: not known
-- column mention: Number within the report
-- column concept: Lexicon id
-- column label: Label it counts for; null: it only speaks against normal
-- column assertion: present, absent or uncertain
-- column hedge: How an uncertain one is hedged
-- column circumstance: current, history, family or hypothetical
-- column words: The words
-- column sentence: Their sentence
-- column rule: Deciding rule; empty: nothing speaks against the mention
-- column side: left, right or bilateral
-- column severity: E.g. mild
-- column change: new, increased, decreased or unchanged
-- column largest_mm: Largest diameter stated
SELECT m.report_id, r.study_uid, m.number AS mention, m.concept, m.label, m.assertion, m.hedge,
  m.circumstance, substr(p.text, m.char_start + 1, m.char_end - m.char_start) AS words,
  substr(p.text, m.sentence_start + 1, m.sentence_end - m.sentence_start) AS sentence,
  m.rule, m.side, m.severity, m.change, m.largest_mm
FROM mention m
JOIN report r ON r.id = m.report_id AND r.version_id = m.version_id
JOIN report_part p ON p.report_id = m.report_id AND p.number = m.part
WHERE r.is_current AND r.status <> 'cancelled'
