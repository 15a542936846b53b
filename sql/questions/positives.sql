-- title: Which reports have a finding, in their own words
-- description: Positive reports of a label with the sentence that decides, latest first.
-- parameter label: text = effusion; label of the reports, e.g. effusion, pneumothorax, nodule
SELECT report_id,
  (SELECT s.accession_number FROM study s WHERE s.study_uid = positive_sentence.study_uid) AS accession_number,
  study_uid, words, sentence, rule
FROM positive_sentence
WHERE label = :label
ORDER BY report_id DESC
