-- view: study_label
-- version: 1
-- purpose: Every label of every report that counts, also those not mentioned. One row for a report and a label.
-- column report_id: Number of the report
-- column study_uid: Its study; null: not known
-- column label: E.g. effusion
-- column value: 1 positive, 0 negative, -1 uncertain; null: not mentioned
-- column said: Assertions met: p present, a absent, u uncertain
-- column mention: Number of the mention that decides
-- column version_id: Version of the miner
SELECT r.id AS report_id, r.study_uid, n.name AS label, l.value, l.said, l.mention, r.version_id
FROM report r
JOIN label_name n ON n.version_id = r.version_id
LEFT JOIN report_label l
  ON l.version_id = r.version_id AND l.report_id = r.id AND l.name = n.name
WHERE r.is_current AND r.status <> 'cancelled'
