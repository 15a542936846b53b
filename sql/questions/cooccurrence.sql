-- title: Which findings occur together
-- description: Pairs of labels that are positive in one report, most frequent first.
SELECT first, second, count(*) AS reports
FROM label_pair
GROUP BY first, second
ORDER BY reports DESC
