-- title: Which findings occur together
-- description: Pairs of labels that are positive in one report, most frequent first.
SELECT first, second, sum(reports) AS reports
FROM label_together
WHERE in_force
GROUP BY first, second
HAVING sum(reports) > 0
ORDER BY sum(reports) DESC, first, second
