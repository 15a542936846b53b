-- title: How often each finding is reported
-- description: Every label with its positive, negative and uncertain reports.
SELECT label, sum(positive) AS positive, sum(negative) AS negative, sum(uncertain) AS uncertain
FROM label_month
WHERE in_force
GROUP BY label
HAVING sum(positive + negative + uncertain) > 0
ORDER BY positive DESC, label
