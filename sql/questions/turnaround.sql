-- title: From a closed study to a sent result
-- description: Mean and longest time by day and destination.
-- sqlite:
SELECT date(sent_at) AS day, destination, count(*) AS results,
  round(avg(closed_to_sent_s), 1) AS mean_s, round(max(closed_to_sent_s), 1) AS longest_s
FROM delivered
WHERE sent_at IS NOT NULL
GROUP BY day, destination
ORDER BY day DESC
-- postgresql:
SELECT to_char(sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, destination,
  count(*) AS results, round(CAST(avg(closed_to_sent_s) AS numeric), 1) AS mean_s,
  round(CAST(max(closed_to_sent_s) AS numeric), 1) AS longest_s
FROM delivered
WHERE sent_at IS NOT NULL
GROUP BY 1, destination
ORDER BY 1 DESC
