-- title: Sentences that the two readers of the miner read differently
-- description: Mentions on which scope windows and dependency graph disagree: worth a look when lexicons change.
SELECT m.report_id, m.concept, m.window_says, m.graph_says, m.assertion,
  substr(p.text, m.sentence_start + 1, m.sentence_end - m.sentence_start) AS sentence
FROM mention m
JOIN report r ON r.id = m.report_id AND r.version_id = m.version_id
JOIN report_part p ON p.report_id = m.report_id AND p.number = m.part
WHERE m.graph_says <> m.window_says AND r.is_current
ORDER BY m.report_id DESC
