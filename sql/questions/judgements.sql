-- title: What people say of each algorithm's results
-- description: Findings and whole results that were accepted, rejected or corrected, by version.
SELECT algorithm, algorithm_version, coalesce(finding, '(whole result)') AS finding,
  sum(CASE WHEN verdict = 'accepted' THEN 1 ELSE 0 END) AS accepted,
  sum(CASE WHEN verdict = 'rejected' THEN 1 ELSE 0 END) AS rejected,
  sum(CASE WHEN verdict = 'corrected' THEN 1 ELSE 0 END) AS corrected
FROM judged
GROUP BY algorithm, algorithm_version, coalesce(finding, '(whole result)')
ORDER BY algorithm, algorithm_version, finding
