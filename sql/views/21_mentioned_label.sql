-- view: mentioned_label
-- version: 1
-- purpose: The same without what is not mentioned: quicker, for counting.
-- column report_id: Number of the report
-- column study_uid: Its study; null: not known
-- column label: E.g. effusion
-- column value: 1 positive, 0 negative, -1 uncertain
-- column month: YYYY-MM the report states
-- column referring_unit: Ward or clinic that asked
SELECT l.report_id, r.study_uid, l.name AS label, l.value,
  substr(r.study_date, 1, 4) || '-' || substr(r.study_date, 5, 2) AS month, r.referring_unit
FROM report_label l
JOIN report r ON r.id = l.report_id AND r.version_id = l.version_id
WHERE r.is_current AND r.status <> 'cancelled'
