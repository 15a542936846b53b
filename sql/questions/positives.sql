-- title: Which reports have a finding, in their own words
-- description: Positive reports of a label with the sentence that decides, latest first.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT report_id, study_uid, words, sentence, rule
FROM positive_sentence
WHERE label = :label
ORDER BY report_id DESC
