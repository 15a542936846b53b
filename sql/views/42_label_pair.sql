-- view: label_pair
-- version: 1
-- purpose: Pairs of labels that are positive in one report.
-- column report_id: Number of the report
-- column first: One label
-- column second: Another one, later in the alphabet
SELECT a.report_id, a.name AS first, b.name AS second
FROM report_label a
JOIN report_label b
  ON b.version_id = a.version_id AND b.report_id = a.report_id AND b.name > a.name AND b.value = 1
JOIN report r ON r.id = a.report_id AND r.version_id = a.version_id
WHERE a.value = 1 AND r.is_current AND r.status <> 'cancelled'
